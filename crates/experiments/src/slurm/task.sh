#!/bin/sh
# A job of a sweep under Slurm: runs the command it is given, in an array with the task's index
# behind it.
#
# USR1 is the notice before a preemption or the end of the time limit: the command is asked to end,
# which writes its state, and the task goes back into the queue. TERM, from a cancelled job, ends it
# in the same way without that.

[ -z "$SLURM_ARRAY_TASK_ID" ] || set -- "$@" "$SLURM_ARRAY_TASK_ID"
export RAYON_NUM_THREADS="$SLURM_CPUS_ON_NODE"

noticed=
trap 'noticed=yes; [ -z "$!" ] || kill -TERM "$!"' USR1
trap '[ -z "$!" ] || kill -TERM "$!"' TERM
"$@" &
# A notice from before there was something to end.
[ -z "$noticed" ] || kill -TERM "$!"

# A trapped signal ends a wait, not the command.
wait "$!"
code=$?
while kill -0 "$!" 2>/dev/null; do
    wait "$!"
    code=$?
done

if [ -n "$noticed" ] && [ "$code" -ne 0 ]; then
    # A task by the array's id: its own may be that of the whole array.
    job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}
    exec scontrol requeue "$job${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
