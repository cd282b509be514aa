"""Prepares a bare machine: virtual environment, cluster binaries, images, demo model.

Standard library only: this runs with the system's Python before anything is installed. Each step
is cached by content outside the checkout; on a prepared machine it does nothing.
"""
