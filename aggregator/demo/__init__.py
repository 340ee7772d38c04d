"""The demo: two programs that let a pipeline run without a repository. Delete their sections for a real deployment.

replay.py    writes a real access log (SOURCES.md) again and again, dated now, and rotates it
tracker.py   plays the usage tracker of IRUS: checks pings, counts them, is sometimes slow or away
stopping.py  when either of them has to end
"""
