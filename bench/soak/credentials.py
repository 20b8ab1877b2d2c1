"""Credentials by `vestibule issuer`: one CA for all, and a folder for each instance, rotated by itself."""

import os
import shutil
import subprocess
import uuid


def guid(name):
    """The same for the same name, so that rules can be written before there is a certificate."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


class Credentials:
    """The pair of one instance."""

    def __init__(self, program, root, name, app=None, key="p-256"):
        self.program, self.folder, self.key = program, root / name, key
        self.app = guid(app or name)
        self.space, self.instance = guid("space"), guid(name + " instance")[:28]
        authority = root / "ca" / "authority"
        self.folder.mkdir(mode=0o700)
        if name != "ca":
            shutil.copytree(authority, self.folder / "authority")
            shutil.copy(root / "ca" / "ca.crt", self.folder)
        self.rotate()

    def rotate(self, *more):
        arguments = ["--once", "--validity", "24h", "--key", self.key, "--org", guid("organization")]
        arguments += ["--space", self.space, "--app", self.app, "--instance", self.instance]
        subprocess.run(
            [self.program, "issuer", *arguments, *more, self.folder],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def inject(self, fault):
        self.rotate("--inject", fault)

    @property
    def cert(self):
        return self.folder / "instance.crt"

    @property
    def pem_key(self):
        return self.folder / "instance.key"

    @property
    def ca(self):
        return self.folder / "ca.crt"


def replace(path, text):
    """Writes beside it and renames."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    os.rename(new, path)
