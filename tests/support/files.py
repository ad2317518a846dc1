"""Files whose reading fails."""


class Failing:
    """A file of which only the first reads succeed.

    Args:
        file: The real file.
        error: What the other reads raise.
        readable: Number of reads of a given size that succeed.
    """

    def __init__(self, file, error, readable):
        self.file, self.error, self.left = file, error, readable

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def read(self, *size):
        self.left -= 1
        if self.left < 0 or not size:
            raise self.error
        return self.file.read(*size)

    def readinto(self, buffer):
        raise self.error
