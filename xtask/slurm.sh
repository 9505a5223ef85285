#!/usr/bin/env bash
# A Slurm of one node on this machine, to try `cargo xtask reproduce --launcher slurm` for real:
# munged, slurmctld and slurmd as plain processes on loopback, in a folder of their own, as the user
# who calls. Nothing outside the folder is written, and no test needs it.
#
#   apt-get install slurmctld slurmd slurm-client munge    # tried with Debian 12's Slurm 22.05
#   xtask/slurm.sh start /tmp/slurm                        # prints what to export
#   export SLURM_CONF=/tmp/slurm/slurm.conf
#   cargo xtask reproduce --launcher slurm --partition sweep
#   scancel --signal=USR1 --batch JOB_TASK          # the notice before the end of the time limit
#   sbatch --partition urgent -n "$(nproc)" --wrap 'sleep 3'   # a preemption
#   xtask/slurm.sh stop /tmp/slurm
#
# A job that was requeued is held back for as long as its credential lives: two minutes on a usual
# Slurm, CREDENTIAL_S seconds here.
set -euo pipefail

CREDENTIAL_S=${CREDENTIAL_S:-20}

usage="usage: xtask/slurm.sh start|stop FOLDER"
[ $# = 2 ] || { echo "$usage" >&2; exit 1; }
action=$1
# Slurm's configuration has no quotes, so no spaces either.
case $2 in *[[:space:]]*) echo "error: a folder without spaces, please: $2" >&2; exit 1 ;; esac
mkdir -p "$2"
dir=$(cd "$2" && pwd)
export SLURM_CONF=$dir/slurm.conf

configure() {
    user=$(id -un)
    node=$(hostname -s)
    cat >"$SLURM_CONF" <<CONF
ClusterName=loopback
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=$CREDENTIAL_S
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=sweep Nodes=$node Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=$node MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF
CONF
}

start() {
    mkdir -p "$dir/state" "$dir/spool"
    chmod 700 "$dir"
    configure
    if [ ! -e "$dir/munge.key" ]; then
        (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
    fi
    trap 'stop >&2' ERR
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
        --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munge.seed"
    slurmctld
    slurmd -N "$(hostname -s)"
    for _ in $(seq 60); do
        case $(sinfo --noheader --format=%T 2>/dev/null | head -n 1) in
            idle | mixed | allocated)
                trap - ERR
                sinfo
                echo "export SLURM_CONF=$SLURM_CONF"
                return
                ;;
        esac
        sleep 0.5
    done
    echo "error: the node is not there after 30 s; see $dir/*.log" >&2
    stop >&2
    exit 1
}

# By the ids that the daemons wrote, so that no other Slurm is touched.
stop() {
    scancel --user="$(id -un)" 2>/dev/null || true
    for daemon in slurmd slurmctld munged; do
        pid=$(cat "$dir/$daemon.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
    echo "stopped; $dir can be removed"
}

case $action in
    start) start ;;
    stop) stop ;;
    *) echo "$usage" >&2; exit 1 ;;
esac
