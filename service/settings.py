"""Settings, read from the environment; an invalid one stops the start and names the field."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.domain.models.tuning import Tuning

MIN_SECRET = 24  # characters
# Modal ends a call after a day; the job's own timeout must come first, to be reported.
CALL_MARGIN_SECONDS = 60
# In the data directory: the generated admin key, and where a running service listens.
KEY_FILE = "api-key"
ADDRESS_FILE = "address"


def _address(text: str) -> str:
    url = urlsplit(text)
    plain = url.hostname and "@" not in url.netloc and not url.query and not url.fragment
    plain = plain and not re.search(r"[^\x21-\x7e]", text)  # it is used in headers
    if text and not (plain and url.scheme in ("http", "https")):
        rest = urlsplit("//" + re.sub(r"^(\w*:)?/+|[\x00-\x20\x7f]", "", text))
        host = rest.netloc.rpartition("@")[2] or "rushes.example.com"
        host = host.encode("idna").decode()
        raise ValueError(f"must be an address like https://{host}{rest.path}")
    return text


def _network(text: str) -> str:
    ip_network(text, strict=False)  # raises ValueError, which names the text
    return text


_REVISION = r"^[\w.-]+$"  # of a repository of weights
Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]


class Settings(BaseSettings, Tuning):
    """Every setting, with its default. Each is read from `RUSHES_<NAME>` or from `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="RUSHES_",
        env_file=".env",
        extra="ignore",
        frozen=False,
        env_ignore_empty=True,
        populate_by_name=True,
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8787, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(Path(".rushes"), description="Folder of the database, videos and keys.")
    database_url: str = Field(
        "", description="SQLAlchemy URL. Default: SQLite in the data directory."
    )
    database_volume: str = Field(
        "",
        description="Without a URL: Modal Volume to replicate SQLite to, and to restore it from.",
    )
    database_lease_seconds: float = Field(
        15.0,
        ge=1,
        le=600,
        description="Length of a container's lease on that database, which it renews.",
    )
    s3_bucket: str = Field("", description="Bucket to keep videos in. Default: the data directory.")
    s3_prefix: str = Field("", description="Prefix of every key in the bucket; ends with a slash.")
    s3_endpoint_url: Address = Field("", description="Address of R2 and others. Default: Amazon's.")
    s3_region: str = Field(
        "",
        description="The bucket's region. Default: auto with an address, else from boto3's usual "
        "sources, such as AWS_DEFAULT_REGION.",
    )
    s3_access_key_id: SecretStr | None = Field(
        None, description="Default: from boto3's usual sources, such as AWS_ACCESS_KEY_ID."
    )
    s3_secret_access_key: SecretStr | None = Field(
        None, description="Default: from boto3's usual sources."
    )
    s3_links: bool = Field(
        True,
        description="Redirect downloads to signed URLs of the bucket; False: the service sends "
        "the bytes itself, for a bucket that clients cannot reach.",
    )
    public_url: Address = Field(
        "", description="Address of the service for clients. Default: the one a request came to."
    )
    worker_url: Address = Field(
        "", description="Address of the service for workers on Modal. Default: that for clients."
    )
    trusted_proxies: list[Network] = Field(
        ["127.0.0.1", "::1"],
        description="Proxies whose X-Forwarded-Proto, -Host, -Prefix and -For are trusted, "
        "as JSON: addresses or networks.",
    )
    bootstrap_key: SecretStr | None = Field(
        None,
        min_length=MIN_SECRET,
        description="The first API key, at least 24 characters. Default: generated, shown once.",
    )
    worker_token: SecretStr | None = Field(
        None,
        min_length=MIN_SECRET,
        description="Authenticates workers, at least 24 characters. Default: new at each start.",
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=MIN_SECRET,
        description="Authenticates a Prometheus that scrapes /metrics. Default: there is none.",
    )
    secret: SecretStr | None = Field(
        None,
        min_length=MIN_SECRET,
        description="Signs video URLs, at least 24 characters. Default: generated once and kept in "
        "the data directory.",
    )

    elevenlabs_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("ELEVENLABS_API_KEY", "RUSHES_ELEVENLABS_API_KEY"),
        description="Speaks texts by voices of ElevenLabs; also read from "
        "RUSHES_ELEVENLABS_API_KEY.",
    )
    elevenlabs_model: str = Field(
        "eleven_multilingual_v2",
        min_length=1,
        description="ElevenLabs' model for speech, such as eleven_flash_v2_5.",
    )
    elevenlabs_usd_per_1000_characters: float = Field(
        0.10,
        ge=0,
        allow_inf_nan=False,
        description="USD that ElevenLabs charges for 1,000 credits.",
    )
    elevenlabs_url: Address = Field(
        "https://api.elevenlabs.io", description="Address of ElevenLabs' API, or of a regional one."
    )

    workers: int = Field(1, ge=0, le=64, description="Local worker processes.")
    hung_after_seconds: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="Seconds without a heartbeat after which the API process is restarted.",
    )
    dispatch: Literal["local", "modal"] = Field(
        "local", description="Where videos are made: by local workers, or by calls on Modal."
    )
    modal_app: str = Field("rushes", description="The name of the app on Modal.")
    modal_environment: str = Field("", description="Modal's environment. Default: its own default.")
    modal_max_containers: int = Field(
        1, ge=1, le=100, description="Maximum GPU containers of each model, which caps its cost."
    )
    modal_min_containers: dict[str, Annotated[int, Field(ge=0)]] = Field(
        {},
        description='GPU containers kept warm by model, as JSON: {"ltx-2b": 1}; until an admin '
        "sets another number.",
    )
    modal_scaledown_seconds: int = Field(
        120, ge=2, le=3600, description="Seconds that an idle GPU container keeps running."
    )
    modal_gpus: dict[str, list[str]] = Field(
        {}, description='GPUs by model, in order of preference, as JSON: {"ltx-2b": ["L40S"]}.'
    )
    modal_domain: str = Field(
        "", description="A custom domain of the service, registered with Modal."
    )
    modal_snapshots: list[str] = Field(
        [],
        description="Models that start from a memory snapshot, as JSON; an alpha feature of Modal.",
    )
    modal_start_seconds: float = Field(
        600.0,
        ge=1,
        le=7200,
        description="Seconds for a call to get a GPU and load; a job fails after five late ones.",
    )
    gpu_rates: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {},
        description="USD per second by GPU, as JSON. Default: Modal's prices, or nothing if local.",
    )
    gpu_host_rate: float = Field(
        0.0, ge=0, description="USD per second for the CPU and memory beside a GPU."
    )
    models: list[str] = Field(
        [],
        description='Models to serve, as JSON, the default first: ["slate"]. Default: what this '
        "machine can run.",
    )
    accept_licences: list[str] = Field(
        [],
        description="Names of models, as JSON, whose licence you accept where it limits who may "
        "use them; see docs/models.md.",
    )
    weights: dict[str, Path] = Field(
        {}, description='Local weights by model, as JSON: {"ltx-2b": "/weights/ltx"}.'
    )

    longcat_repo: str = Field(
        "meituan-longcat/LongCat-Video-Avatar-1.5",
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="Repository of longcat's weights on the Hugging Face Hub.",
    )
    longcat_revision: str = Field(
        "main",
        pattern=_REVISION,
        description="Branch or commit of that repository; pin a commit in production.",
    )
    longcat_base_revision: str = Field(
        "main",
        pattern=_REVISION,
        description="Branch or commit of meituan-longcat/LongCat-Video: tokenizer, encoder, VAE.",
    )
    longcat_source_commit: str = Field(
        "6b3f4b8582a8bc3f20f795735f5383716c4ba794",
        pattern=r"^[0-9a-f]{40}$",
        description="Commit of longcat's code, as GitHub's meituan-longcat/LongCat-Video, that "
        "`make deploy` installs.",
    )

    syncnet: Path | None = Field(
        None,
        description="Folder with SyncNet, by which a worker here scores lips: docs/avatars.md.",
    )
    compiled_dir: Path | None = Field(
        None, description="Where compiled code is kept. Default: torch's own, in /tmp."
    )
    ahead_bytes: int = Field(
        536_870_912,
        ge=0,
        description="Memory of a worker for frames to be encoded while the model makes the next "
        "video; 0: no overlap.",
    )

    max_body_bytes: int = Field(
        262_144, ge=1_000, description="Largest request body, without its inputs."
    )
    max_image_bytes: int = Field(
        20_000_000, ge=1_000, le=32_000_000, description="Largest input image, sent or fetched."
    )
    max_video_bytes: int = Field(
        100_000_000, ge=1_000, le=2_000_000_000, description="Largest input video or recording."
    )
    max_queued_per_key: int = Field(1_000, ge=1, description="Maximum queued jobs of one API key.")
    max_input_bytes_per_key: int = Field(
        10_000_000_000,
        ge=1_000,
        description="Maximum bytes of inputs and avatars that are kept for one API key.",
    )
    max_active_per_key: int = Field(
        1_000, ge=1, description="Maximum jobs of one API key that run at the same time."
    )
    job_timeout_seconds: int = Field(
        1800,
        ge=1,
        le=86_400 - CALL_MARGIN_SECONDS,
        description="Timeout of an attempt whose request sets none.",
    )
    running_lease_seconds: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="Seconds without a report after which a worker's attempt is lost.",
    )
    max_requests_per_second: float = Field(
        200.0,
        ge=0,
        description="Maximum requests per second of one API key, after a burst of 1,000; 0: no "
        "limit.",
    )
    max_submits_per_second: float = Field(
        50.0,
        ge=0,
        description="Maximum submits per second of one API key, after a burst of 1,000; 0: no "
        "limit.",
    )
    max_streams: int = Field(
        1_000,
        ge=2,
        description="Event streams open at once in one process, at most half for one key.",
    )
    stream_seconds: float = Field(
        140.0,
        ge=1,
        le=3600,
        description="An event stream ends after this many seconds, before a proxy would cut it.",
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        le=3600,
        description="Seconds that an idle connection stays open; must exceed the idle timeout of a "
        "proxy in front.",
    )
    min_free_bytes: int = Field(
        500_000_000,
        ge=0,
        description="Minimum free bytes of the disk; with less, no job is accepted or started.",
    )
    keep_days: float = Field(
        7.0, gt=0, le=3650, description="Days that videos are kept, and their URLs valid."
    )
    keep_jobs_days: float = Field(
        30.0, gt=0, le=3650, description="Days that final jobs and webhook deliveries are listed."
    )
    webhooks_allow_loopback: bool = Field(
        False,
        description="Let webhooks and input URLs lead to this machine, http too, on any port.",
    )
    egress_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        [443, 8443], description="Ports that the https URLs of requests may have, as JSON."
    )
    cors_origins: list[str] = Field(["*"], description="Browser origins that may call the API.")
    failpoint: str = Field("", description="For tests: the failpoint that kills the process.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum level: debug, info, warning or error."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text or json: one line per event in both."
    )

    @model_validator(mode="after")
    def _fill_in(self) -> "Settings":
        if self.keep_jobs_days < self.keep_days:
            raise ValueError("RUSHES_KEEP_JOBS_DAYS must not be less than RUSHES_KEEP_DAYS")
        if not self.database_url:
            path = self.offsite_path if self.database_volume else self.data_dir / "rushes.db"
            self.database_url = _sqlite_url(path)
        return self

    @property
    def offsite_path(self) -> Path:
        """Return the local path of a database replicated to a Volume; the file is overwritten."""
        return self.data_dir / "offsite.db"

    @property
    def is_offsite(self) -> bool:
        """Tell whether the database is a local file replicated to a Volume."""
        return self.database_url == _sqlite_url(self.offsite_path)


def _sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file. Its path is quoted: `?` would begin the query."""
    return f"sqlite:///{quote(str(path.resolve()), safe='/')}"


class ClientSettings(BaseSettings):
    """Settings of the commands that call a service; a flag overrides each of these."""

    model_config = Settings.model_config

    url: str = Field("", description="The service's address. Default: this machine's.")
    api_key: SecretStr | None = Field(
        None, description="The API key to send. Default: the one in the data directory."
    )
