//! A real Chromium, driven over `WebDriver` (W3C) by chromedriver: a dozen calls of JSON over HTTP, for which the client
//! that the program has anyway will do. The crates for it bring an async runtime of their own, and 24 to 100 others.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{find_program, pass};

/// How often it is looked whether the page shows what is waited for, and how long is waited in between: 30 s in all.
const LOOKS_MAX: u32 = 600;
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// How often a driver is started that finds its port taken.
const STARTS_MAX: u32 = 5;
/// The name under which `WebDriver` hands out elements (W3C `WebDriver` §12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. It is closed when this is dropped.
pub(crate) struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    _profile: TempDir,
}

/// Starts a driver on a port that it picks. That fails now and then: the port that is free for IPv6 may not be so for IPv4.
fn start(program: &Path) -> Option<(Child, String)> {
    let mut driver = Command::new(program).arg("--port=0").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let started = lines.find_map(|line| {
        let (_, port) = line.strip_suffix('.')?.split_once("started successfully on port ")?;
        Some(port.to_owned())
    });
    let Some(port) = started else {
        driver.wait().unwrap();
        return None;
    };
    // What it says later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, port))
}

impl Browser {
    /// Opens one of 1440 × 900, or says that there is none and answers `None`.
    pub(crate) fn open() -> Option<Self> {
        let (chromium, driver) = (
            find_program("chromium", "apt-get install chromium")?,
            find_program("chromedriver", "apt-get install chromium-driver")?,
        );
        let profile = tempfile::tempdir().unwrap();
        let (driver, port) = (0..STARTS_MAX).find_map(|_try| start(&driver)).expect("chromedriver does not start");
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let mut browser = Self { driver, agent, session: format!("http://127.0.0.1:{port}"), _profile: profile };
        let opened = browser.call("POST", "/session", &browser.capabilities(&chromium));
        browser.session = format!("{}/session/{}", browser.session, opened["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn capabilities(&self, chromium: &Path) -> Value {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let args = [
            "--headless=new",
            // Chromium refuses to run as root with it; the pages here are our own.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--window-size=1440,900",
            &profile,
        ];
        json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"binary": chromium, "args": args, "perfLoggingPrefs": {"enableNetwork": true}},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}})
    }

    /// Opens an address.
    pub(crate) fn go(&self, url: &str) {
        self.call("POST", "/url", &json!({"url": url}));
    }

    /// Runs a script in the page, with `arguments`, and answers what it returns.
    pub(crate) fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// Waits until an expression is true in the page.
    pub(crate) fn wait_for(&self, expression: &str) {
        for _look in 0..LOOKS_MAX {
            if self.run(&format!("return Boolean({expression})"), &[]) == json!(true) {
                return;
            }
            pass(LOOK_PAUSE);
        }
        panic!("{expression} does not come true on:\n{}\n{:?}", self.text("body"), self.console());
    }

    /// Waits until an element shows exactly this text.
    pub(crate) fn wait_for_text(&self, css: &str, text: &str) {
        self.wait_for(&format!("document.querySelector({})?.innerText === {}", json!(css), json!(text)));
    }

    /// Waits until the page shows this text somewhere.
    pub(crate) fn wait_to_see(&self, text: &str) {
        self.wait_for(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// The text that the first element of this selector shows.
    pub(crate) fn text(&self, css: &str) -> String {
        let shown = self.run("return document.querySelector(arguments[0])?.innerText ?? null", &[json!(css)]);
        shown.as_str().unwrap_or_else(|| panic!("no {css} on:\n{}", self.text("body"))).to_owned()
    }

    /// Clicks on an element as a person does: it must be seen, and nothing may lie over it.
    pub(crate) fn click(&self, css: &str) {
        self.wait_for(&format!("document.querySelector({})", json!(css)));
        self.call("POST", &format!("/element/{}/click", self.element("css selector", css)), &json!({}));
    }

    /// Clicks on the button with this text, in the open dialog if there is one.
    pub(crate) fn press(&self, text: &str) {
        let button = format!("//button[normalize-space()='{text}']");
        let xpath = format!("//dialog{button} | {button}[not(//dialog)]");
        for _look in 0..LOOKS_MAX {
            let found = self.call("POST", "/elements", &json!({"using": "xpath", "value": xpath}));
            if let Some(element) = found.as_array().unwrap().first() {
                self.call("POST", &format!("/element/{}/click", element[ELEMENT].as_str().unwrap()), &json!({}));
                return;
            }
            pass(LOOK_PAUSE);
        }
        panic!("no button {text} on:\n{}", self.text("body"));
    }

    /// Types into a control, in place of what it holds.
    pub(crate) fn write(&self, css: &str, text: &str) {
        self.wait_for(&format!("document.querySelector({})", json!(css)));
        let element = self.element("css selector", css);
        self.call("POST", &format!("/element/{element}/clear"), &json!({}));
        self.call("POST", &format!("/element/{element}/value"), &json!({"text": text}));
    }

    /// Types on the keyboard, wherever the focus is. `\u{e004}` is Tab, `\u{e007}` Enter, `\u{e00c}` Escape.
    pub(crate) fn keyboard(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})])
            .collect();
        self.call("POST", "/actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}));
    }

    /// Sends a command of the Chrome `DevTools` Protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.call("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Makes the window so wide, in a colour scheme: `light` or `dark`.
    pub(crate) fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &media);
    }

    /// What the console holds since it was last asked: warnings and errors, those of the policy and of failed calls too.
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.call("POST", "/se/log", &json!({"type": "browser"}));
        let faults =
            entries.as_array().unwrap().iter().filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        faults.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// The addresses that pages of `origin` asked for since this was last called; Chromium's own first page has others.
    pub(crate) fn requests(&self, origin: &str) -> Vec<String> {
        let entries = self.call("POST", "/se/log", &json!({"type": "performance"}));
        let messages =
            entries.as_array().unwrap().iter().map(|entry| {
                serde_json::from_str::<Value>(entry["message"].as_str().unwrap()).unwrap()["message"].take()
            });
        let sent = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        let own = sent.filter(|message| message["params"]["documentURL"].as_str().unwrap().starts_with(origin));
        own.map(|message| message["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// Holds that nothing went wrong in the console, and that nothing but `origin` was asked.
    pub(crate) fn assert_clean(&self, origin: &str) {
        let faults = self.console();
        assert!(faults.is_empty(), "{faults:?}");
        let requests = self.requests(origin);
        assert!(!requests.is_empty());
        for url in requests {
            assert!(url.starts_with(&format!("{origin}/")) || url.starts_with("data:"), "the page asked {url}");
        }
    }

    fn element(&self, using: &str, value: &str) -> String {
        let found = self.call("POST", "/element", &json!({"using": using, "value": value}));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// A `WebDriver` command that must succeed; its value.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.session);
        let request = ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut response = self.agent.run(request.body(body.clone()).unwrap()).unwrap();
        // Screenshots are long.
        let text = response.body_mut().with_config().limit(64 * 1024 * 1024).read_to_string().unwrap();
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        let fault = &answer["value"]["error"];
        assert!(fault.is_null(), "{method} {path} {body}: {fault}: {}", answer["value"]["message"]);
        answer["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closes Chromium; without it, killing its driver would leave it behind.
        let _closed = self.agent.delete(&self.session).call();
        let _gone = self.driver.kill();
        let _waited = self.driver.wait();
    }
}
