"""waiting: the one place where tests let time pass, always for something that can be seen."""
import os
import time

# Far more than needed, so that a slow machine or a sanitizer changes nothing; t/mutate sets less.
WAIT_SECONDS = float(os.environ.get("WAIT_SECONDS", "60"))
POLL_SECONDS = 0.005


def wait_until(predicate, what, seconds=WAIT_SECONDS):
    """The first true answer of predicate(); an error that says `what` when there was none."""
    end = time.monotonic() + seconds
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for: {what}")
        time.sleep(POLL_SECONDS)


def came_true(predicate, seconds):
    """wait_until for those to whom either outcome is fine."""
    try:
        return bool(wait_until(predicate, "", seconds))
    except AssertionError:
        return False
