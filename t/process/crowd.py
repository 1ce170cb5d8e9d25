"""crowd: many clients at once."""
import threading

from wire import Closed


def in_threads(count, run):
    """run(number) in `count` threads; the first error is raised here."""
    errors = []

    def guarded(number):
        try:
            run(number)
        except (AssertionError, Closed, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
