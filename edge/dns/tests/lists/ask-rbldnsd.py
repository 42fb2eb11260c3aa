#!/usr/bin/env python3
"""ask-rbldnsd.py FILE...: writes what the real rbldnsd answers into the "=" lines of the cases beside it.

Needs rbldnsd and dig (Debian: rbldnsd, bind9-dnsutils), and root or the user RBLDNSD_USER. The form of a case is told in ../lists.rs.
"""
import os, re, shlex, subprocess, sys, tempfile, time

PORT = int(os.environ.get("RBLDNSD_PORT", "22153"))
USER = os.environ.get("RBLDNSD_USER", "daemon")


def serve(kind, files):
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    names = []
    for number, lines in enumerate(files):
        names.append(f"f{number}")
        with open(f"{folder}/f{number}", "w") as out:
            out.write("".join(line + "\n" for line in lines))
    command = ["rbldnsd", "-n", "-a", "-u", USER, "-w", folder, "-b", f"127.0.0.1/{PORT}", f"bl.example:{kind}:{','.join(names)}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for _ in range(100):
        time.sleep(0.02)
        if process.poll() is not None:
            sys.exit(process.stdout.read().decode())
        if "status" in dig("version.bind TXT CH"):
            return process
    sys.exit("rbldnsd does not answer")


def dig(question):
    command = ["dig", "@127.0.0.1", "-p", str(PORT), "+time=1", "+tries=2", "+noall", "+comments", "+answer"] + shlex.split(question)
    return subprocess.run(command, capture_output=True, text=True).stdout


def answer(question):
    name, rtype = question.split()
    text = dig(f"{'bl.example' if name == '@' else name + '.bl.example'} {rtype}")
    rcode = re.search(r"status: (\w+)", text)
    records = []
    for line in text.splitlines():
        if line and not line.startswith(";"):
            owner, ttl, _, kind, data = line.split(None, 4)
            records.append(f"{kind} {ttl} {data}")
    return (rcode.group(1) if rcode else "-") + "".join(f" | {record}" for record in sorted(records))


def rewrite(path):
    out, kind, files, process = [], None, [], None
    for line in open(path).read().splitlines():
        if line.startswith("list "):
            kind, files = line.split()[1], [[]]
            if process:
                process.kill(), process.wait()
            process = None
        elif line == "file":
            files.append([])
        elif line.startswith("| ") or line.startswith("x ") or line == "|":
            files[-1].append(line[2:])
        if line.startswith("= "):
            continue
        out.append(line)
        if line.startswith("? "):
            process = process or serve(kind, files)
            out.append("= " + answer(line[2:]))
    if process:
        process.kill(), process.wait()
        if os.environ.get("VERBOSE"):
            print(process.stdout.read().decode())
    open(path, "w").write("\n".join(out) + "\n")


for path in sys.argv[1:]:
    rewrite(path)
