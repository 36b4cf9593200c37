"""Runs containers of rendered pods as processes, as a kubelet would start them: in the files of
their image, which they cannot change, as the pod's user, with the rendered command, environment and
mounts. In place of a cluster's DNS, the names of Services lead to loopback, and the listeners are
moved there. Needs root, for the mounts."""

import atexit
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

# The unpacked images, each in the folder of its name (deploy/image/oci).
IMAGES = pathlib.Path(os.environ.get("IMAGES", ""))
# How long a container that ends by itself may take.
END_WITHIN_S = 120
# What runtimes of containers set. The host's tools are found in it, too.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The mounts end with the process. Arguments: an empty folder, the files of the image, those of the
# pod, user and group, the places where the pod may write, `--`, and the command.
START = """
root=$1 image=$2 files=$3 user=$4
shift 4
mount --bind "$image" "$root"
mount -o remount,bind,ro,nosuid,nodev "$root"
mount --bind "$files/etc" "$root/etc"
mount -o remount,bind,ro,nosuid,nodev "$root/etc"
while [ "$1" != -- ]; do
  mount --bind "$files$1" "$root$1"
  shift
done
shift
exec setpriv --no-new-privs chroot --userspec="$user" "$root" "$@"
"""


def check_prerequisites():
    """Raises an error of one line if no container can be started here."""
    if not os.environ.get("IMAGES"):
        raise RuntimeError("IMAGES is not set, must name the folder of the unpacked images: run make test-deploy")
    mount = ["unshare", "--mount", "--propagation", "private", "true"]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise RuntimeError("needs root that may mount (CAP_SYS_ADMIN)")


class Pods:
    """Pods that end together. `services` are the names of Services, `secrets` the texts of each
    Secret by its name and key."""

    def __init__(self, services, secrets):
        # A pod's user has no rights, and must be able to read the files that are mounted.
        os.umask(0o022)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="twqr-pods-"))
        self.running = []
        # Processes and private keys must not stay if the test is interrupted.
        atexit.register(self.stop)
        self.hosts = "127.0.0.1 " + " ".join(["localhost", *services]) + "\n"
        self.secrets = secrets

    def stop(self):
        """Kills all processes and removes all files; may be called again."""
        for process in self.running:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, name, spec, objects):
        """Runs a pod until it ends; returns its exit code, and what it printed to both outputs."""
        process = self.start(name, spec, objects)
        try:
            code = process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} did not end within {END_WITHIN_S} s: {self.printed(name)}") from None
        return (code, *self.printed(name))

    def printed(self, name):
        return [(self.folder / name / file).read_text() for file in ("out", "err")]

    def start(self, name, spec, objects):
        """Starts a pod with one container; `objects` has the ConfigMaps that it mounts."""
        (container,) = spec["containers"]
        image = IMAGES / re.split("[:@]", container["image"].rsplit("/", 1)[-1])[0]
        folder = self.folder / name
        files = folder / "files"
        (folder / "root").mkdir(parents=True)
        shutil.copytree(image / "etc", files / "etc", symlinks=True)
        (files / "etc/hosts").write_text(self.hosts)
        (files / "etc/nsswitch.conf").write_text("hosts: files\n")
        writable = self.mount(files, container, spec, objects)
        user = "{runAsUser}:{runAsGroup}".format(**spec["securityContext"])
        # The entry point is that of deploy/image/Dockerfile.
        command = [*(container.get("command") or [f"/usr/bin/{image.name}"]), *container["args"]]
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "bash", "-euc", START, "--",
                 folder / "root", image, files, user, *writable, "--", *command],
                env={"PATH": PATH, **environment(name, container)},
                stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self.running.append(process)
        return process

    def mount(self, files, container, spec, objects):
        """Writes the files of a container's mounts; returns the places where it may write."""
        volumes = {one["name"]: one for one in spec.get("volumes", [])}
        group = spec["securityContext"]["fsGroup"]
        writable = []
        for mount in container.get("volumeMounts", []):
            place = files / mount["mountPath"].lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            # The claim of a StatefulSet is no volume of its pod. It is empty at first, too.
            volume = volumes.get(mount["name"], {"emptyDir": {}})
            if "emptyDir" in volume:
                os.chown(place, 0, group)
                place.chmod(0o2777)
                writable.append(mount["mountPath"])
                continue
            for path, text, mode in self.contents(volume, objects):
                (place / path).write_text(text)
                os.chown(place / path, 0, group)
                (place / path).chmod(mode)
        return writable

    def contents(self, volume, objects):
        """The files of a volume: path, text and mode of each."""
        if "configMap" in volume:
            data = objects["ConfigMap", volume["configMap"]["name"]]["data"]
            return [(path, on_loopback(text), 0o644) for path, text in data.items()]
        if "projected" in volume:
            mode, sources = volume["projected"]["defaultMode"], volume["projected"]["sources"]
            secrets = [(source["secret"]["name"], source["secret"]["items"]) for source in sources]
        else:
            mode = volume["secret"]["defaultMode"]
            secrets = [(volume["secret"]["secretName"], volume["secret"]["items"])]
        return [(item["path"], self.secrets[name][item["key"]], mode) for name, items in secrets for item in items]


def on_loopback(text):
    """The text of a ConfigMap with its listeners on loopback, so that other machines do not reach
    them. Fails if an address is left that others reach."""
    text = text.replace('"0.0.0.0:', '"127.0.0.1:')
    for address in ("0.0.0.0", "[::]"):
        if address in text:
            raise AssertionError(f"a listener may not be on {address} here, other machines would reach it:\n{text}")
    return text


def environment(name, container):
    fields = {"metadata.name": name}
    value = lambda one: one["value"] if "value" in one else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
    return {one["name"]: value(one) for one in container["env"]}
