"""One noun a file; a file registers its scenarios when it is imported."""
