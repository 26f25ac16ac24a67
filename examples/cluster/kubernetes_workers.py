"""Workers as pods, for `--cluster kubernetes_workers:client`: pip install dask-kubernetes, with its operator installed.

The image holds the same versions of netsurgeon, onnxruntime and numpy as this machine; the volume claim holds models,
data and results, mounted here under the same path. The pods end with the command.
"""

from __future__ import annotations

import distributed
from dask_kubernetes.operator import KubeCluster, make_cluster_spec

IMAGE = "registry.example.org/netsurgeon:latest"
CLAIM, PATH = "models", "/models"


def client() -> distributed.Client:
    """A client of four workers of eight cores."""
    spec = make_cluster_spec(
        name="netsurgeon",
        image=IMAGE,
        n_workers=4,
        worker_command=["dask", "worker", "--nthreads", "1"],
        resources={"requests": {"cpu": "8", "memory": "32Gi"}, "limits": {"cpu": "8", "memory": "32Gi"}},
    )
    pod = spec["spec"]["worker"]["spec"]
    pod["volumes"] = [{"name": "models", "persistentVolumeClaim": {"claimName": CLAIM}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "models", "mountPath": PATH}]
    return distributed.Client(KubeCluster(custom_cluster_spec=spec), set_as_default=False)
