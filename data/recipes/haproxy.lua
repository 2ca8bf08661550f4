-- Asks klinky about a request of HAProxy's. See haproxy.cfg, which loads this file and says what goes where.

-- CHANGE: klinky's --listen. An address and not a name: nothing is looked up.
local KLINKY = "http://127.0.0.1:8080"
-- How long klinky may take before the client gets a 503.
local TIMEOUT_MS = 5000

local UNAVAILABLE = '{"detail":"API keys cannot be checked at the moment. Please try again."}'

-- What of an answer is kept, and in which variable; haproxy.cfg writes it into headers.
local KEPT = {
    ["x-ratelimit-limit"] = "txn.klinky_limit",
    ["x-ratelimit-remaining"] = "txn.klinky_remaining",
    ["x-ratelimit-reset"] = "txn.klinky_reset",
    ["ratelimit-policy"] = "txn.klinky_policy",
    ["ratelimit"] = "txn.klinky_ratelimit",
    ["x-klinky-account"] = "txn.klinky_account",
    ["x-klinky-plan"] = "txn.klinky_plan",
    ["x-klinky-key"] = "txn.klinky_key",
}
-- What of a denial goes to the client besides.
local PASSED_ON = { "content-type", "retry-after", "www-authenticate", "x-request-id" }

-- The values of a header of the client's as the client's table has them. All of them: klinky refuses two keys.
local function values(headers, name)
    local found = {}
    for _, value in pairs(headers[name] or {}) do
        found[#found + 1] = value
    end
    return found
end

local function refuse(txn, status, headers, body)
    local reply = txn:reply()
    reply:set_status(status)
    for _, name in ipairs(PASSED_ON) do
        for _, value in pairs(headers[name] or {}) do
            reply:add_header(name, value)
        end
    end
    reply:set_body(body)
    txn:done(reply)
end

core.register_action("klinky", { "http-req" }, function(txn)
    local asked = txn.http:req_get_headers()
    local answer = core.httpclient():get({
        url = KLINKY .. "/check?cost=" .. tostring(txn:get_var("txn.klinky_cost") or 1),
        headers = {
            ["host"] = { "klinky" },
            ["x-api-key"] = values(asked, "x-api-key"),
            ["accept"] = values(asked, "accept"),
            ["x-request-id"] = values(asked, "x-request-id"),
            ["x-forwarded-for"] = { txn.sf:src() },
            ["x-original-method"] = { txn.sf:method() },
            ["x-original-uri"] = { txn.sf:pathq() },
        },
        timeout = TIMEOUT_MS,
    })
    local headers = answer and answer.headers or {}
    local status = answer and answer.status or 0
    for name, variable in pairs(KEPT) do
        if headers[name] then
            txn:set_var(variable, headers[name][0])
        end
    end
    if status == 200 then
        txn:set_var("txn.klinky_allowed", true)
    elseif status >= 400 and headers["x-request-id"] then
        -- Every answer of klinky's has this header; HAProxy makes a 503 of its own when it cannot reach klinky.
        refuse(txn, status, headers, answer.body)
    else
        -- Closed: whom nobody checked does not pass. To let everybody pass instead while klinky is down, replace the
        -- line below by txn:set_var("txn.klinky_allowed", true)
        refuse(txn, 503, { ["content-type"] = { "application/json" } }, UNAVAILABLE)
    end
end)
