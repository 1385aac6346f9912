"""What a study keeps: the results folder, Optuna's database, leases and locks, a trial's own record.

Nothing here decides; other rooms read and write through it.
"""
