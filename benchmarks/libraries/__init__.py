"""The other job libraries, one module each, run as programs `python -m benchmarks.libraries.NAME URL N`.

Imports nothing but the library: some of them run in a virtual environment of their own.
"""
