"""A real browser, Debian's Chromium, that looks at a server beside the running test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from suite.processes import MANAGE, manage
from suite.together import wait_until

CHROMIUM, DRIVER = "chromium", "chromedriver"
SERVER = MANAGE.with_name("serve.py")

WIDE, PHONE = (1280, 900), (360, 740)
"""Width and height of a page, in CSS pixels."""

SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # it cannot have one as root; it visits nothing but the test's server
    "--disable-dev-shm-usage",  # a container has little of that
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-first-run",
    "--force-prefers-reduced-motion",
    "--hide-scrollbars",
)


def missing() -> str:
    """What must be installed first, in a sentence; empty if all is there."""
    absent = [name for name in (CHROMIUM, DRIVER) if not shutil.which(name)]
    hint = "on Debian: apt-get install chromium chromium-driver"
    return f"no {' and no '.join(absent)}; {hint}" if absent else ""


class Browser:
    """One window, and what there is to do with it."""

    def __init__(self, driver: Chrome, address: str) -> None:
        self.driver = driver
        self.address = address
        self._forgiven: list[str] = []

    def clear(self) -> None:
        """As new: no cookies, no memory of pages, wide and light."""
        self.driver.get("about:blank")
        self._command("Network.clearBrowserCookies")
        self._command("Storage.clearDataForOrigin", origin=self.address, storageTypes="all")
        self.resize(*WIDE)
        self.set_dark(dark=False)
        self._forgiven = []
        self._read_console()

    def log_in(self, user: User) -> None:
        """As somebody who has entered name and password."""
        client = Client()
        client.force_login(user)
        [cookie] = client.cookies.values()
        self._command("Network.setCookie", name=cookie.key, value=cookie.value, url=self.address)

    def open(self, path: str) -> None:
        """Go to a page of the server."""
        self.driver.get(self.address + path)

    def find(self, selector: str) -> WebElement:
        """The first element that the CSS selector means."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        """All elements that the CSS selector means."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def follow(self, element: WebElement) -> None:
        """Press a button or a link, and wait until the page that comes of it is whole."""
        self._arrive(element.click)

    def press(self, element: WebElement, key: str) -> None:
        """Likewise by a key."""
        self._arrive(lambda: element.send_keys(key))

    def _arrive(self, leave: Callable[[], None]) -> None:
        before = self.find("html")
        leave()
        wait_until(lambda: self._is_whole(before), "another page")

    def _is_whole(self, before: WebElement) -> bool:
        script = "return [document.documentElement, document.readyState]"
        page, state = self.run(script)
        return bool(page != before and state == "complete")

    def run(self, script: str, *args: Any) -> Any:
        """Run a function's body in the page, past its policy, and return what that returns."""
        return self.driver.execute_script(script, *args)

    def resize(self, width: int, height: int) -> None:
        """Have the page be so large."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setDeviceMetricsOverride", **metrics)

    def set_dark(self, *, dark: bool) -> None:
        """Have the user prefer dark or light colours."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])

    def set_online(self, *, online: bool) -> None:
        """Have the network be there or not."""
        self._command("Network.enable")
        limits = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self._command("Network.emulateNetworkConditions", offline=not online, **limits)

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        script = "const page = document.documentElement; return page.scrollWidth - innerWidth"
        return max(0, int(self.run(script)))

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        """Keep what is to be seen, or the whole page, as a PNG."""
        size = self.run(
            "const page = document.documentElement; return [page.clientWidth, page.scrollHeight]"
        )
        if whole:
            self.resize(*size)
        self.driver.get_screenshot_as_file(str(file))

    def forgive(self, text: str) -> None:
        """Expect a complaint that has this text in it."""
        self._forgiven.append(text)

    def complaints(self) -> list[str]:
        """What the browser has complained of since the last time: errors of scripts, what could
        not be loaded, and what the policy forbids."""
        return [
            line
            for line in self._read_console()
            if not any(text in line for text in self._forgiven)
        ]

    def _read_console(self) -> list[str]:
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def _command(self, command: str, /, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser that has visited nothing."""
    options = ChromeOptions()
    options.binary_location = str(shutil.which(CHROMIUM))
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, ChromeService(shutil.which(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def server(settings: dict[str, Any]) -> Iterator[str]:
    """A server on the test's databases; its address. ``settings`` are the queue's."""
    environment = {"DJANGO_SETTINGS_MODULE": "suite.browser_settings"}
    with manage(script=SERVER, settings=settings, environment=environment, stderr=None) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


def superuser() -> User:
    """Somebody who may do all."""
    return User.objects.create_superuser("root")


def viewer() -> User:
    """Somebody who may look at the queue's pages, and do nothing."""
    user = User.objects.create_user("viewer", is_staff=True)
    codes = [f"view_{name}" for name in ("job", "group", "error")]
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="async", codename__in=codes)
    )
    return user
