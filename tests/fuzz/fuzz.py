#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fuzz.py PROGRAM CORPUS FOLDER...: runs a fuzz target for SV_FUZZ_SECONDS seconds (60).

CORPUS is where interesting inputs are kept from run to run; the FOLDERs' files are inputs too. An input that breaks
something is kept beside CORPUS: move it to tests/fuzz/found/NAME with a name that says what it is, and mend the code.
"""
import os
import re
import subprocess
import sys


def stand_back():
    """Whoever runs this may have made it nicer than others; between sessions only this counts (sched(7), autogroup)."""
    try:
        with open("/proc/self/autogroup", "w", encoding="ascii") as file:
            file.write(str(os.nice(0)))
    except OSError:
        pass


def main():
    stand_back()
    program, corpus, *folders = sys.argv[1:]
    name = os.path.basename(corpus)
    seconds = int(os.environ.get("SV_FUZZ_SECONDS", "60"))
    broken = corpus + "-broken/"
    for folder in (corpus, broken):
        os.makedirs(folder, exist_ok=True)
    subprocess.run([program, "--seeds", corpus], check=True)
    before = set(os.listdir(broken))
    folders = [folder for folder in folders if os.path.isdir(folder)]
    command = [program, f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048", "-max_len=65536", "-close_fd_mask=1",
               "-print_final_stats=1", f"-artifact_prefix={broken}", corpus, *folders]
    # GLib's own allocator would hide leaks.
    done = subprocess.run(command, env={**os.environ, "G_SLICE": "always-malloc"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    runs = re.search(r"stat::number_of_executed_units: (\d+)", done.stdout)
    new = sorted(set(os.listdir(broken)) - before)
    if done.returncode == 0 and not new and runs and int(runs.group(1)) > 0:
        print(f"{name}: {runs.group(1)} inputs in {seconds} s, nothing found")
        return 0
    print(done.stdout[-20000:])
    for file in new:
        print(f"{name}: a broken input: {broken}{file} (move it to tests/fuzz/found/{name})")
    return 1


if __name__ == "__main__":
    sys.exit(main())
