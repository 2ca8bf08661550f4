//! What `--help` says: the first thing that a newcomer reads.

use crate::process::{klinky, run};

#[test]
fn help_teaches_the_commands() {
    let ended = run(&mut klinky(&["--help"]));

    assert_eq!(ended.code, Some(0));
    insta::assert_snapshot!(ended.stdout, @"
    API keys, plans and exact hourly rate limits for an HTTP API, in one binary

    Usage: klinky <COMMAND>

    Commands:
      serve     Run the server
      dump      Print what is stored, whether or not the server runs
      restore   Fill an empty data directory from a dump
      verify    Say what is wrong in a data directory that no server has open, which stays as it is
      token     Print a session token (JWT) for an account
      simulate  Say from an access log how many requests each plan would have denied
      help      Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Try it: klinky serve --demo
    Every flag can be given as a variable: --data-dir as KLINKY_DATA_DIR.
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is one text")]
fn help_teaches_the_flags_of_serve() {
    let ended = run(klinky(&["serve", "--help"]).env("COLUMNS", "100"));

    assert_eq!(ended.code, Some(0));
    insta::assert_snapshot!(ended.stdout, @"
    Run the server

    The public listener serves /api/v1 and /check; the admin listener serves /admin/v1, /healthz,
    /readyz and /metrics. Secrets come from KLINKY_ADMIN_TOKEN and KLINKY_JWT_SECRET, or are made at
    first start and kept in the data directory (admin-token, jwt-secret; mode 0600).

    Usage: klinky serve [OPTIONS]

    Options:
          --listen <ADDR>
              Where the public listener listens
              
              [env: KLINKY_LISTEN=]
              [default: 127.0.0.1:8080]

          --admin-listen <ADDR>
              Where the admin listener listens; keep it off the internet
              
              [env: KLINKY_ADMIN_LISTEN=]
              [default: 127.0.0.1:8081]

          --data-dir <DIR>
              Where everything is kept; made if absent
              
              [env: KLINKY_DATA_DIR=]
              [default: data/db]

          --flush-every-ms <MS>
              Counted requests are on disk within this many milliseconds, 0 to 60000
              
              A crash forgets at most the units of the last interval. 0: on disk before the answer, many
              requests sharing one flush.
              
              [env: KLINKY_FLUSH_EVERY_MS=]
              [default: 100]

          --key-prefix <WORD>
              The word that keys begin with, before `_live_`: 1 to 20 of a-z and 0-9
              
              [env: KLINKY_KEY_PREFIX=]
              [default: klinky]

          --workers <N>
              Threads that serve the public listener, 1 to 256
              
              Default: one for each core.
              
              [env: KLINKY_WORKERS=]

          --cors-origin <ORIGIN>
              An origin whose pages may call the public API, such as https://app.example.com
              (repeatable)
              
              In the variable, several are separated by commas.
              
              [env: KLINKY_CORS_ORIGIN=]

          --trusted-proxy <CIDR>
              A network of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8 (repeatable)
              
              In the variable, several are separated by commas.
              
              [env: KLINKY_TRUSTED_PROXY=]

          --jwt-public-key <FILE>
              A PEM public key (RSA, P-256 or Ed25519) of an outside issuer whose JWTs are accepted too
              
              [env: KLINKY_JWT_PUBLIC_KEY=]

          --jwt-audience <TEXT>
              The `aud` that tokens of the outside issuer must carry
              
              [env: KLINKY_JWT_AUDIENCE=]

          --public-url <URL>
              What short URLs begin with, such as https://klnk.example
              
              Default: http:// and the Host header of the request that asks.
              
              [env: KLINKY_PUBLIC_URL=]

          --country-header <NAME>
              The header in which a proxy says the visitor's country, such as CF-IPCountry
              
              Only name a header that your proxy always sets: otherwise visitors can.
              
              [env: KLINKY_COUNTRY_HEADER=]

          --click-retention-days <DAYS>
              How many days clicks are kept, 1 to 3650; the sums per day are kept for ever
              
              [env: KLINKY_CLICK_RETENTION_DAYS=]
              [default: 90]

          --usage-retention-days <DAYS>
              How many days usage per hour, key and endpoint is kept, 1 to 3650
              
              [env: KLINKY_USAGE_RETENTION_DAYS=]
              [default: 30]

          --upstream <URL>
              Guard this API, such as http://127.0.0.1:9000, in place of the built-in links
              
              [env: KLINKY_UPSTREAM=]

          --upstream-prefix <PATH>
              The path below which the upstream's API is, such as /v1; default /api/v1/public
              
              [env: KLINKY_UPSTREAM_PREFIX=]

          --public-path <GLOB>
              Paths that need no key and are not counted, such as '/v1/docs/**' (repeatable)
              
              A glob: * and ? stay within a segment, ** does not. Before it, a method may stand, which
              is then the only one: 'OPTIONS /v1/**' lets the upstream answer the preflights of
              browsers. GET means HEAD as well. In the variable, several are separated by ;
              
              [env: KLINKY_PUBLIC_PATH=]

          --cost <COST>
              What calls cost, such as 'POST /v1/reports=10': 1 to 1000 units (repeatable)
              
              A method or *, and a glob. The first one that matches counts; a call that none matches
              costs 1. In the variable, several are separated by ;
              
              [env: KLINKY_COST=]

          --upstream-connect-timeout-ms <MS>
              How long a connection to the upstream may take, 1 to 60000
              
              [env: KLINKY_UPSTREAM_CONNECT_TIMEOUT_MS=]
              [default: 5000]

          --upstream-timeout-ms <MS>
              How long the upstream may stand still, before its answer and in the middle of it, 1 to
              3600000
              
              [env: KLINKY_UPSTREAM_TIMEOUT_MS=]
              [default: 60000]

          --backup-dir <DIR>
              Back everything but counters and usage up into this directory; made if absent
              
              Each backup is a dump, klinky-2026-11-24T10-00-00Z.jsonl, that `klinky restore` reads.
              
              [env: KLINKY_BACKUP_DIR=]

          --backup-every <TIME>
              How often, 10s to 30days; at the start, too, if the newest backup is older than that
              
              [env: KLINKY_BACKUP_EVERY=]
              [default: 1h]

          --backup-keep <N>
              How many backups are kept, 1 to 10000; older ones are removed
              
              [env: KLINKY_BACKUP_KEEP=]
              [default: 24]

          --log-format <FORMAT>
              How log lines look: text, for people, or json, one object a line
              
              [env: KLINKY_LOG_FORMAT=]
              [default: text]

          --log <LEVEL>
              What is logged: off, error, warn, info, debug, or by module: info,klinky::store=debug
              
              [env: KLINKY_LOG=]
              [default: info]

          --demo
              Run on a throw-away database with one account per plan, and print keys and curl lines
              
              The data directory is left alone.
              
              [env: KLINKY_DEMO=]

      -h, --help
              Print help (see a summary with '-h')
    ");
}
