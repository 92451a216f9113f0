"""Settings of one process: the only reader of the environment.

Every field has a type, a unit in its name and one line of meaning. Nothing else in the house may
read os.environ, and nothing that is decided per case may live here.
"""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker.errors import BadSetting

PREFIX = "GOLDENTIME_"
TEXTS = ("str", "tuple")
"""Kinds of settings of which nothing is a value: no webhook, no host that is trusted."""


@dataclass(frozen=True)
class EscalationSteps:
    """Seconds after a round opens: remind, ask the next three, call the case unplaced."""

    remind_s: float
    widen_s: float
    unplaced_s: float


@dataclass(frozen=True)
class Settings:
    """All that an operator may choose; the defaults run on one machine with SQLite."""

    data_dir: Path = field(default=Path("var"))
    """Folder for the SQLite file, images, sockets and logs."""
    database_url: str = ""
    """SQLAlchemy address; empty means SQLite in data_dir."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Address of Redis (the doorbell; it holds nothing that may not be lost)."""
    image_dir: Path | None = None
    """Folder of the image store; data_dir/images when unset. Shared by gateway and workers."""
    secret_key: str = ""
    """Signs session cookies; at least 32 characters, no default."""
    identity_keys: tuple[str, ...] = ()
    """Fernet keys that patients' names are encrypted with; the first writes, all of them read.
    No default: the gateway refuses to start without one. Keep a copy apart from the backups."""
    public_url: str = "http://127.0.0.1:8000"
    """Where people reach the gateway: used in links and for same-origin checks."""
    stream_url: str = "http://127.0.0.1:8001"
    """Where browsers reach the stream process (server-sent events)."""
    trusted_hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    """Host names that the gateway answers to."""
    cookie_secure: bool = True
    """Send cookies over TLS only; switched off for a plain http demo on loopback."""
    classifier: str = ""
    """Name of the classifier's folder under models/weights; empty means the shipped one."""
    detector: str = ""
    """Name of the detector's folder under models/weights; empty means the shipped one."""
    site_prevalence: Path | None = None
    """JSON file {label: share of this site's films that have it}, for every label of the
    classifier. Set: scores are moved there and shown as probabilities. Unset: as scores."""
    inference_threads: int = 1
    """onnxruntime threads of each child's reader (cores divided by children)."""
    time_scale: float = 1.0
    """Multiplies every deadline of a case; tests use small values."""
    triage_rules: Path | None = None
    """TOML file of a region's own triage rules; unset: dispatch/triage_rules.toml."""
    reading_deadline_s: float = 5.0
    """Longest wait for AI readings before offers go out without them (pre-KTAS 3 to 5)."""
    urgent_reading_deadline_s: float = 0.0
    """The same for pre-KTAS 1 and 2: offers go out at once, readings amend them."""
    steps_urgent: EscalationSteps = EscalationSteps(20, 45, 90)
    """Seconds after a round opens: remind, ask the next three, call the case unplaced (acuity 1
    and 2)."""
    steps_prompt: EscalationSteps = EscalationSteps(60, 120, 180)
    """The same for acuity 3."""
    steps_standard: EscalationSteps = EscalationSteps(120, 240, 360)
    """The same for acuity 4 and 5."""
    control_room_first_acuity: int = 0
    """Cases of this acuity and worse wait for the control room's choice first; 0: none does."""
    control_room_wait_s: float = 60.0
    """How long they wait; then ERs are asked as ever."""
    acknowledge_deadline_s: float = 10.0
    """An unacknowledged decision is sent again after this, and alarms the control room."""
    transport_deadline_s: float = 7200.0
    """A transport without news for this long alarms the control room."""
    arrived_close_s: float = 14400.0
    """An arrived case that nobody closed is closed after this."""
    ask_again_s: float = 300.0
    """An ER that declined may be asked again after this, when nobody else is left."""
    duplicate_window_min: float = 30.0
    """Two unknown patients alike, brought by one ambulance within this long, may be one person."""
    identity_retention_days: float = 0.0
    """Names are erased this long after a patient's last case ended; 0 keeps them."""
    offers_per_round: int = 3
    """How many ERs are asked at a time."""
    replace_declined: bool = True
    """Ask another ER as soon as one says no, in its place; off: at the round's end."""
    reading_lease_s: float = 10.0
    """A worker that has not renewed its claim on a reading for this long has lost it."""
    reading_attempts: int = 3
    """Tries before a reading is a dead letter."""
    sweep_s: float = 5.0
    """How often relay and upkeep look for rows that are due."""
    queue_stuck_s: float = 20.0
    """Work waits and none of it was begun or finished for this long: operations are alarmed."""
    queue_behind_s: float = 60.0
    """The oldest work of a queue waits longer than this: operations are warned."""
    canary_s: float = 60.0
    """How often a canary is sent through every queue; 0 sends none."""
    alarm_repeat_s: float = 60.0
    """How often an alarm that nobody took is raised again."""
    sample_days: int = 2
    """How long the charts keep every minute; older samples are one per hour."""
    stream_poll_s: float = 2.0
    """How often a stream looks for events when Redis is silent."""
    stream_reauthorise_s: float = 5.0
    """How often a stream asks again whether its listener may still listen."""
    max_upload_bytes: int = 32 * 1024 * 1024
    """Largest film, in bytes; of more than 32 MiB none is read, whatever stands here."""
    min_free_bytes: int = 2 * 1024**3
    """Operations are alarmed when the image store has less room than this; films are refused (503)
    below it or below 5 % of its disk, whichever is less."""
    upload_keep_s: float = 86400.0
    """How long the bytes of an unfinished upload wait for the rest, counted from the last piece."""
    egen_key: str = field(default="", repr=False)
    """Service key of Korea's bed feed (data.go.kr 15000563); empty: the feed is off."""
    egen_regions: tuple[str, ...] = ()
    """Regions that the bed feed is asked for: 서울특별시, or with a district 서울특별시/종로구."""
    egen_url: str = "https://apis.data.go.kr/B552657/ErmctInfoInqireService"
    """Address of the bed feed."""
    egen_poll_s: float = 300.0
    """How often the bed feed is asked; two calls per region and page, so mind the daily quota."""
    bed_feed_silent_s: float = 1800.0
    """The bed feed brought nothing for this long: the control room is told."""
    road_times_url: str = ""
    """Address of an OSRM-compatible service (http://osrm.example:5000) that says how long ways
    take by road; the same for every process. Empty: ways are estimated from the straight line."""
    road_times_timeout_s: float = 2.0
    """Longest wait for one of its answers."""
    road_times_keep_s: float = 600.0
    """A way that a case still needs is asked for anew after this."""
    webhook_secret: str = ""
    """Signs notifications to pager gateways; at least 32 characters. Empty: no webhooks."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts (and ports, as host:port) that webhooks may go to; others are refused."""
    smtp_url: str = ""
    """Mail server: smtps://user:password@host:465, or smtp://host:587 with STARTTLS. "" is off."""
    mail_from: str = ""
    """Sender of notification mails."""
    map_tiles_url: str = ""
    """Address of map tiles with {z}, {x} and {y}; pages may then load pictures from its host.
    "" draws maps as a grid of coordinates, and no page asks anybody else for anything."""
    map_attribution: str = ""
    """Who is to be named on such maps."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    log_json: bool = True
    """JSON lines; false prints for people."""
    node: str = field(default_factory=socket.gethostname)
    """Name of this machine in leases and heartbeats."""

    @property
    def database(self) -> str:
        """SQLAlchemy address in force."""
        if self.database_url:
            return self.database_url
        return f"sqlite:///{(self.data_dir / 'goldentime.sqlite3').resolve()}"

    @property
    def images(self) -> Path:
        """Folder of the image store in force."""
        return self.image_dir or self.data_dir / "images"

    @property
    def relay_socket(self) -> Path:
        """Local datagram socket on which the relay is poked (SQLite installations)."""
        return self.data_dir / "relay.sock"

    def scaled(self, seconds: float) -> float:
        """A deadline in seconds after GOLDENTIME_TIME_SCALE."""
        return seconds * self.time_scale

    def steps(self, acuity: int) -> EscalationSteps:
        """Escalation steps of an acuity (1 worst to 5), scaled."""
        steps = self.steps_standard
        if acuity <= 2:
            steps = self.steps_urgent
        elif acuity == 3:
            steps = self.steps_prompt
        return EscalationSteps(*(self.scaled(s) for s in dataclasses.astuple(steps)))

    def require_secret(self) -> str:
        """The secret key, or BadSetting when it is missing or short."""
        if len(self.secret_key) < 32:
            raise BadSetting(
                f"{PREFIX}SECRET_KEY must be set to at least 32 random characters "
                "(python -c 'import secrets; print(secrets.token_urlsafe(48))')"
            )
        return self.secret_key


def from_env(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from GOLDENTIME_* variables; BadSetting names the variable that cannot be read."""
    env = os.environ if environ is None else environ
    fields = {f.name: f for f in dataclasses.fields(Settings)}
    chosen: dict[str, object] = {}
    for name, text in env.items():
        if not name.startswith(PREFIX):
            continue
        key = name[len(PREFIX) :].lower()
        if key not in fields:
            continue
        kind = str(fields[key].type)
        if not text.strip() and not kind.startswith(TEXTS):
            continue  # a line of .env without a value, which compose hands on
        chosen[key] = _parse(name, kind, text)
    return Settings(**chosen)  # type: ignore[arg-type]  # _parse gave each field its own type


def to_env(settings: Settings, more: Mapping[str, str]) -> dict[str, str]:
    """The environment that gives a child process exactly these settings, and `more` on top."""
    env = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
    for field_ in dataclasses.fields(settings):
        value = getattr(settings, field_.name)
        if value is not None:
            env[PREFIX + field_.name.upper()] = as_text(value)
    return env | dict(more)


def as_text(value: object) -> str:
    """A setting as the environment would say it; "" for one that is not set."""
    if value is None:
        return ""
    if isinstance(value, Path):
        return str(value.resolve())
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, EscalationSteps):
        return "/".join(str(part) for part in dataclasses.astuple(value))
    return str(value)


def _parse(name: str, kind: str, text: str) -> object:
    try:
        match kind:
            case "Path" | "Path | None":
                return Path(text)
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "bool":
                return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
            case "tuple[str, ...]":
                return tuple(part.strip() for part in text.split(",") if part.strip())
            case "EscalationSteps":
                remind_s, widen_s, unplaced_s = (float(part) for part in text.split("/"))
                return EscalationSteps(remind_s, widen_s, unplaced_s)
            case _:
                return text
    except (ValueError, KeyError) as error:
        wanted = {
            "int": "a whole number",
            "float": "a number",
            "bool": "1 or 0",
            "EscalationSteps": "three numbers such as 20/45/90",
        }
        raise BadSetting(f"{name}={text!r} is not {wanted.get(kind, kind)}") from error
