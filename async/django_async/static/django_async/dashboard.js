/* Keeps the dashboard current without loading the page anew. It asks for the inner part of the page,
   and puts it in the place of the old one: focus, scroll positions and opened tables stay. It asks
   less often while the server does not answer, not at all while the page is hidden, and stops for
   good once the server says that there is nothing to see. */
"use strict";
{
    const LONGEST_PAUSE = 120;
    const root = document.getElementById("async-dashboard");
    const part = (name) => root.querySelector(`[data-async="${name}"]`);
    const words = root.dataset;
    const toggle = part("toggle");

    let failures = 0;
    let timer = null;
    let asking = null;
    let isPaused = false;
    let hasEnded = false;

    const tell = (text) => {
        if (part("status").textContent !== text) {
            part("status").textContent = text;
        }
    };

    const pause = () => Math.min(Number(words.every) * 2 ** failures, Math.max(LONGEST_PAUSE, words.every));

    const stop = () => {
        clearTimeout(timer);
        timer = null;
        if (asking) {
            asking.abort();
            asking = null;
        }
    };

    const wait = () => {
        stop();
        if (!isPaused && !hasEnded && !document.hidden) {
            timer = setTimeout(refresh, pause() * 1000);
        }
    };

    const isBeingRead = (old) => {
        const selection = document.getSelection();
        return selection && !selection.isCollapsed && old.contains(selection.anchorNode);
    };

    const swap = (html) => {
        const old = part("now");
        if (isBeingRead(old)) {
            return;
        }
        const fresh = new DOMParser().parseFromString(html, "text/html").body;
        const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
        for (const one of old.querySelectorAll("details[open][id]")) {
            fresh.querySelector(`#${CSS.escape(one.id)}`)?.setAttribute("open", "");
        }
        const scrolled = [...old.querySelectorAll(".async-scroll[id]")].map((one) => [one.id, one.scrollLeft]);
        const [left, top] = [window.scrollX, window.scrollY];
        old.replaceChildren(...fresh.childNodes);
        for (const [id, position] of scrolled) {
            const place = document.getElementById(id);
            if (place) {
                place.scrollLeft = position;
            }
        }
        window.scrollTo(left, top);
        if (focused) {
            document.getElementById(focused)?.focus({preventScroll: true});
        }
    };

    const end = () => {
        hasEnded = true;
        toggle.hidden = true;
        tell(words.ended);
    };

    const succeed = (html) => {
        swap(html);
        words.refreshes = Number(words.refreshes || 0) + 1;
        if (failures) {
            failures = 0;
            tell(words.back);
        }
    };

    const refresh = async () => {
        stop();
        const mine = asking = new AbortController();
        try {
            const answer = await fetch(words.url, {signal: mine.signal, redirect: "manual", headers: {"X-Requested-With": "XMLHttpRequest"}});
            if (answer.type === "opaqueredirect" || [401, 403, 404].includes(answer.status)) {
                end();
            } else if (answer.ok) {
                succeed(await answer.text());
            } else {
                throw new Error(answer.status);
            }
        } catch (error) {
            if (mine.signal.aborted) {
                return;
            }
            failures += 1;
            tell(words.failed);
        }
        wait();
    };

    toggle.hidden = false;
    toggle.addEventListener("click", () => {
        isPaused = !isPaused;
        toggle.textContent = isPaused ? words.resume : words.pause;
        tell(isPaused ? words.paused : words.resumed);
        isPaused ? stop() : refresh();
    });

    const resume = () => {
        if (!document.hidden && !isPaused && !hasEnded) {
            refresh();
        }
    };

    document.addEventListener("visibilitychange", () => document.hidden ? stop() : resume());
    window.addEventListener("online", resume);

    wait();
}
