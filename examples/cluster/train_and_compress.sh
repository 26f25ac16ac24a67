#!/bin/sh
# Training under torchrun and compression on Dask, one after the other on the same nodes. As a job of Slurm:
#     sbatch --nodes 4 --cpus-per-task 8 train_and_compress.sh
# or on this machine alone:  sh train_and_compress.sh
# Every node has the same environment, and sees the folders below under the same paths. The same job, given again, goes on
# where it was stopped: training and compression keep what they have done, retraining begins anew.
set -eu
python="${ENVIRONMENT:-$HOME/netsurgeon}/bin/python"
network="${NETWORK:-lenet5}"
training="${TRAINING:-/shared/mnist}"             # pictures with labels
calibration="${CALIBRATION:-/shared/calibration.npz}" # inputs of the exported model, without labels
out="${OUT:-/shared/lenet5}"
processes="${PROCESSES:-2}" # of training on each node: one a GPU, or one for some cores
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
on_each_node="${SLURM_JOB_ID:+srun --ntasks-per-node=1 --cpus-per-task=${SLURM_CPUS_PER_TASK:-1}}"
mkdir -p "$out"

torchrun() {
    # shellcheck disable=SC2086  # without Slurm there is no word in front
    $on_each_node "$python" -m torch.distributed.run --nnodes "${SLURM_JOB_NUM_NODES:-1}" --nproc-per-node "$processes" \
        --rdzv-backend c10d --rdzv-endpoint "${HERE:-$(hostname -f)}:${PORT:-29500}" -m netsurgeon.cli "$@"
}

# shellcheck disable=SC2086  # options are words
torchrun train "$network" --data "$training" --out "$out/run" ${TRAIN_OPTIONS:-}
"$python" -m netsurgeon.cli export "$out/run" -o "$out/dense.onnx"

rm -f "$out/scheduler.json"
"$python" -m dask scheduler --host "${HERE:-$(hostname -f)}" --port 0 --no-dashboard \
    --scheduler-file "$out/scheduler.json" &
scheduler=$!
# shellcheck disable=SC2086
$on_each_node "$python" -m dask worker --scheduler-file "$out/scheduler.json" --nthreads 1 --no-dashboard \
    --local-directory "${TMPDIR:-/tmp}" &
workers=$!
trap 'kill $workers $scheduler 2>/dev/null || true' EXIT INT TERM
while [ ! -s "$out/scheduler.json" ]; do
    kill -0 $scheduler # which ends the job where there is no scheduler any more
    sleep 1
done
address="$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' "$out/scheduler.json")"
"$python" -m netsurgeon.cli compress "$out/dense.onnx" --data "$calibration" -o "$out/small.onnx" --work "$out/work" \
    --cluster "$address" ${COMPRESS_OPTIONS:---sparsity 90%}
kill $workers $scheduler || true
wait

# shellcheck disable=SC2086
torchrun retrain "$out/small.onnx" --data "$training" --dense "$out/dense.onnx" -o "$out/retrained.onnx" \
    ${RETRAIN_OPTIONS:---scale 0.00390625 --channels grey}
