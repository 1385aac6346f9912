"""What a study keeps: the results folder, Optuna's database, leases, locks, a trial's record.

Nothing here decides; other rooms read and write through it.
"""
