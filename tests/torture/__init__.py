"""What kills, stops and starves running gateways, and asks afterwards where every unit went.

`make test` runs a sample (`test_*.py`); `python -m tests.torture` the whole.
"""
