"""The ledger in MLflow: the only writer to it. MLflow never matters to a study.

runs    what is to be seen of a study, and charts, the prepared view of it: pure
mirror  sends a ledger to MLflow; whatever is sent twice is there once
database  the SQLite file it goes to, whole or absent
tracker the thread in which that happens beside a study, and the same without one (`rebuild`)
registry  exported models as versions of a registered model
removal what becomes of the runs of a study that is removed
server  addresses of MLflow servers, and the one that `study mlflow` starts

Importing this imports no MLflow.
"""
