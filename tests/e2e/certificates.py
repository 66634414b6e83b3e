"""Certificates for tests, made by the `openssl` command when a test runs: none is committed, so none expires in the repository.

    authority = Authority(folder, "ca")                        # a root, and an intermediate that signs what is issued
    certificate, key = authority.issue("server", dns=["shop.local"], ips=["127.0.0.1"])
    client, client_key = authority.issue("cart", uris=["spiffe://cluster.local/ns/shop/sa/cart"], client=True)
    old, old_key = authority.issue("old", dns=["shop.local"], expired=True)
    curl --cacert authority.ca_path ...

A certificate's file holds the intermediate too (the chain that a server sends); `ca_path` holds the root alone."""
import datetime, os, subprocess

KEY_KINDS = {"ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]}


def openssl(*arguments, stdin=None):
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"openssl {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def make_key(path, ec=True, password=None):
    """A private key in PKCS#8, mode 0600; with `password` an encrypted one."""
    openssl("genpkey", *KEY_KINDS["ec" if ec else "rsa"], "-out", path, *(["-aes256", "-pass", f"pass:{password}"] if password else []))
    os.chmod(path, 0o600)
    return path


class Authority:
    """A certificate authority in `folder` (made if it is not there), whose files begin with `name`.

    ca_path: the root, in PEM: what peers are told to trust.
    chain_path: the intermediate, which signs everything that is issued."""

    def __init__(self, folder, name="ca"):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.name, self.serial = folder, name, int.from_bytes(os.urandom(2), "big")
        self.ca_path, self.root_key = self.path("root.crt"), make_key(self.path("root.key"))
        self.chain_path, self.chain_key = self.path("intermediate.crt"), make_key(self.path("intermediate.key"))
        authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        self.sign(self.root_key, f"/CN={name} root", authority, self.ca_path, None, None, *self.dates(3650))
        self.sign(self.chain_key, f"/CN={name} intermediate", authority + "authorityKeyIdentifier=keyid\n", self.chain_path, self.ca_path,
                  self.root_key, *self.dates(3650))

    def path(self, name):
        return os.path.join(self.folder, f"{self.name}-{name}")

    @staticmethod
    def dates(days, begins=-1):
        """The two dates of a certificate, `begins` and `days` counted from now, as `openssl ca` writes them."""
        now = datetime.datetime.now(datetime.timezone.utc)
        return [(now + datetime.timedelta(days=d)).strftime("%Y%m%d%H%M%SZ") for d in (begins, days)]

    def sign(self, key, subject, extensions, into, issuer, issuer_key, begins, ends):
        """`openssl ca` is the one that lets both dates be chosen (3.0 has no -not_before for x509)."""
        self.serial += 1
        base = self.path(f"signing-{self.serial}")
        with open(base + ".index", "w"), open(base + ".index.attr", "w") as attributes:
            attributes.write("unique_subject = no\n")
        with open(base + ".serial", "w") as serial:
            serial.write(f"{self.serial:06x}\n")
        with open(base + ".cnf", "w") as config:
            config.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={base}.index\nserial={base}.serial\nnew_certs_dir={self.folder}\n"
                         f"default_md=sha256\npolicy=p\nx509_extensions=e\nemail_in_dn=no\n[p]\ncommonName=optional\n"
                         f"organizationName=optional\n[req]\ndistinguished_name=n\n[n]\n[e]\n{extensions}")
        openssl("req", "-new", "-config", base + ".cnf", "-key", key, "-subj", subject, "-out", base + ".csr")
        openssl("ca", "-batch", "-notext", "-config", base + ".cnf", "-in", base + ".csr", "-out", into, "-startdate", begins, "-enddate", ends,
                *(["-cert", issuer, "-keyfile", issuer_key] if issuer else ["-selfsign", "-keyfile", key]))

    def issue(self, name, dns=(), uris=(), ips=(), days=90, expired=False, not_yet=False, client=False, ec=True, subject=None, key=None):
        """(certificate path, key path). `expired`: since yesterday; `not_yet`: valid from tomorrow on; `client`: for client authentication
        only, otherwise for both; `ec`: P-256, otherwise RSA 2048; `key`: an existing key's path, for a renewal; `subject`: /O=…/CN=…,
        by default /CN=name. A name issued before is replaced."""
        certificate, key_path = self.path(name + ".crt"), key or make_key(self.path(name + ".key"), ec)
        names = [f"DNS:{n}" for n in dns] + [f"URI:{u}" for u in uris] + [f"IP:{i}" for i in ips]
        extensions = ("basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
                      f"extendedKeyUsage={'clientAuth' if client else 'serverAuth,clientAuth'}\n")
        if names:
            extensions += f"subjectAltName={','.join(names)}\n"
        begins, ends = self.dates(-1, begins=-30) if expired else self.dates(days + 1, begins=1) if not_yet else self.dates(days)
        self.sign(key_path, subject or f"/CN={name}", extensions, certificate, self.chain_path, self.chain_key, begins, ends)
        with open(self.chain_path) as chain, open(certificate, "a") as whole:
            whole.write(chain.read())
        return certificate, key_path
