"""Fixtures that several rooms share; none of them needs anything that the tests do not start."""
