"""Many files: what is to be done, one file at a time, on processes or on a cluster.

``plan_batch`` finds the files and where each result goes; ``restore_batch`` does it, and yields what became of each.
A batch that was stopped or killed is resumed by running it again.
"""

from napari_car.batch.cluster import connect
from napari_car.batch.plan import Plan, Task, plan_batch
from napari_car.batch.restorer import Outcome
from napari_car.batch.run import restore_batch

__all__ = ["Outcome", "Plan", "Task", "connect", "plan_batch", "restore_batch"]
