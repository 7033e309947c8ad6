#!/usr/bin/env bash
# Ray on the nodes of a Slurm job, and one run on all of them:
#   sbatch docs/cluster/slurm.sh game=overcooked responder.shard=64 run=kitchen
#   sbatch docs/cluster/slurm.sh resume=runs/kitchen      # goes on after the time limit
#SBATCH --job-name=marl
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail

head=$(hostname)
port=${RAY_PORT:-6379}
others=$((SLURM_JOB_NUM_NODES - 1))
export RAY_ADDRESS="$head:$port"

ray start --head --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
processes=("$!")
until ray status > /dev/null 2>&1; do sleep 1; done
if ((others > 0)); then
  srun --nodes="$others" --ntasks="$others" --exclude="$head" \
    ray start --address="$RAY_ADDRESS" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
  processes+=("$!")
fi

words=("$@")
if [[ " $* " != *" resume="* ]]; then # a run that is resumed keeps its runner
  words+=(runner=ray runner.address=auto)
fi
marl-train "${words[@]}" &
run=$!
trap 'kill -TERM "$run"' TERM # Slurm's, before the time limit: the run saves a checkpoint and ends
code=0
wait "$run" || code=$?
if kill -0 "$run" 2> /dev/null; then # the signal ended the waiting, not yet the run
  code=0
  wait "$run" || code=$?
fi
kill "${processes[@]}"
exit "$code"
