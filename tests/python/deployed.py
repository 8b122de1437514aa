"""Tells which processes of Auspex the files of deploy/ start, and checks what schemas do not say.

    deployed.py FOLDER        a line of JSON for each process: where it stands, its arguments, variables of its environment

Checked: names of volumes, ports, secrets, services and labels that one part of a file refers to are those of another; each
unit of systemd has variables of its own.
"""

import json
import pathlib
import shlex
import sys

import yaml

IMAGE = "auspex"


def tell(place, arguments, variables):
    print(json.dumps({"place": place, "arguments": arguments, "variables": sorted(variables)}))


def known(place, what, names, there):
    missing = set(names) - set(there)
    assert not missing, f"{place} refers to {what} {sorted(missing)}, of {sorted(there)}"


def compose(file):
    text = yaml.safe_load(file.read_text())
    services = text["services"]
    for name, service in services.items():
        place = f"{file.name}, {name}"
        known(place, "services", service.get("depends_on", ()), services)
        known(place, "secrets", service.get("secrets", ()), text["secrets"])
        volumes = [volume.split(":")[0] for volume in service.get("volumes", ())]
        known(place, "volumes", volumes, text["volumes"])
        if service["image"] == IMAGE:
            tell(place, shlex.split(service["command"]), service["environment"])


def kubernetes(file):
    objects = list(yaml.safe_load_all(file.read_text()))
    templates = [found["spec"]["template"] for found in objects if "template" in found["spec"]]
    for found in objects:
        place, spec = f"{file.name}, {found['kind']} {found['metadata']['name']}", found["spec"]
        if found["kind"] == "Service":
            chosen = [template for template in templates if has_labels(template, spec["selector"])]
            assert len(chosen) == 1, f"{place} selects {len(chosen)} kinds of pods"
            ports = [port["containerPort"] for container in chosen[0]["spec"]["containers"] for port in container["ports"]]
            known(place, "ports", [port.get("targetPort", port["port"]) for port in spec["ports"]], ports)
            continue
        assert has_labels(spec["template"], spec["selector"]["matchLabels"]), f"{place} does not select its own pods"
        pods(place, spec["template"]["spec"])


def has_labels(template, selector):
    return selector.items() <= template["metadata"]["labels"].items()


def pods(place, spec):
    volumes = [volume["name"] for volume in spec["volumes"]]
    for container in spec["containers"]:
        known(place, "volumes", [mount["name"] for mount in container["volumeMounts"]], volumes)
        ports = [port["name"] for port in container["ports"]]
        for probe in ("readinessProbe", "livenessProbe"):
            known(place, "ports", [ask["port"] for ask in container[probe].values() if isinstance(ask, dict)], ports)
        if container["image"] == IMAGE:
            tell(place, container["args"], [variable["name"] for variable in container.get("env", ())])


def systemd(file):
    """Tells the process of a unit; returns the file of its variables."""
    settings = dict(line.split("=", 1) for line in file.read_text().splitlines() if line[:1].isalpha())
    tell(file.name, shlex.split(settings["ExecStart"])[1:], [])
    return settings["EnvironmentFile"].removeprefix("-")


def main(folder):
    compose(folder / "compose.yaml")
    for file in sorted(folder.glob("kubernetes/*.yaml")):
        kubernetes(file)
    environments = [systemd(file) for file in sorted(folder.glob("systemd/*.service"))]
    # One variable means another port for a worker than for a coordinator, and a machine may have both.
    assert len(set(environments)) == len(environments), environments


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
