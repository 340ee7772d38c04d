"""The other job libraries, one module each, run as programs `python -m benchmarks.libraries.NAME URL N`.

These modules import nothing but the library and `job`, because some run in a virtual environment of their own.
"""
