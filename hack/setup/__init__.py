"""Get a bare machine ready: virtual environment, cluster binaries, images, demo model.

Standard library only: this runs with the system's Python before anything is installed. Every step
is cached by content outside the checkout, so on a prepared machine all of them are no-ops.
"""
