"""The ledger in MLflow: the only writer to it. MLflow never matters to a study.

runs    what is to be seen of a study, replicates what is of its trials that differ in their seed alone, and charts, the
        prepared views of it: pure
mirror  sends a ledger to MLflow; start here
store   a study's runs there: whatever is sent twice is there once; whole, ended ones as rows of MLflow's own file;
        together, several of a server's at a time; agreement, whether one is of this ledger; answers, what MLflow says
        when it does not take something
database  the SQLite file it goes to, whole or absent
tracker the thread in which that happens beside a study, and the same without one (`rebuild`)
registry  exported models as versions of a registered model
removal what becomes of the runs of a study that is removed
server  addresses of MLflow servers, and the one that `study mlflow` starts

Importing this imports no MLflow.
"""
