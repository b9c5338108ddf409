"""The trained model asked about pictures.

Python runs this before any module of this package, so before Pillow reads its settings.
"""

import os

# Above the 32 MiB from which glibc always hands memory back when it is freed. With Pillow's 16 MiB,
# each thread kept what its largest picture took.
os.environ["PILLOW_BLOCK_SIZE"] = "64m"
