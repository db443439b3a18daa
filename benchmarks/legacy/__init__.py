"""What Python 3.6 runs, the last one that can import 0.7.3: its package is called ``async``.

No newer syntax, here and in jobs.py, models.py and tally.py beside this folder, which it runs too:
its jobs are the same as all others'.
"""
