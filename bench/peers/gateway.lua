-- The gateway of lua.conf. OpenSSL checks signatures, through LuaJIT's ffi. Verified JWTs and
-- authorizers are kept in tables of the worker, which costs least: nothing is copied. An authorizer
-- that is not known is read from Redis and kept for ten minutes.
local ffi = require "ffi"
local cjson = require "cjson.safe"
local lrucache = require "resty.lrucache"
local redis = require "nginx.redis"

local C = ffi.load "crypto"
ffi.cdef [[
void *EVP_PKEY_new_raw_public_key(int type, void *e, const unsigned char *key, size_t len);
void *EVP_MD_CTX_new(void);
int EVP_MD_CTX_reset(void *ctx);
int EVP_DigestVerifyInit(void *ctx, void **pctx, const void *type, void *e, void *pkey);
int EVP_DigestVerify(void *ctx, const unsigned char *sig, size_t len, const unsigned char *d, size_t n);
]]

local M = {}
local ED25519, LEEWAY, KEPT = 1087, 30, 600
local settings, key, ctx, jwts, authorizers
local verified = 0

local function unbase64(s)
	s = s:gsub("-", "+"):gsub("_", "/")
	if #s % 4 > 0 then s = s .. ("="):rep(4 - #s % 4) end
	return ngx.decode_base64(s)
end

-- init reads the settings: issuer, public key (x of the platform's JWKS), and Redis' host and port.
function M.init(file)
	local f = assert(io.open(file))
	settings = cjson.decode(f:read "*a")
	f:close()
	local raw = unbase64(settings.key)
	key = C.EVP_PKEY_new_raw_public_key(ED25519, nil, raw, #raw)
	ctx = C.EVP_MD_CTX_new()
	jwts, authorizers = lrucache.new(200000), lrucache.new(200000)
end

local function signed(text, signature)
	C.EVP_MD_CTX_reset(ctx)
	return C.EVP_DigestVerifyInit(ctx, nil, nil, nil, key) == 1 and C.EVP_DigestVerify(ctx, signature, #signature, text, #text) == 1
end

-- verify returns what a good JWT says, or nil.
local function verify(jwt)
	local a = jwt:find(".", 1, true)
	local b = a and jwt:find(".", a + 1, true)
	if not b then return nil end
	local head, signature = cjson.decode(unbase64(jwt:sub(1, a - 1)) or ""), unbase64(jwt:sub(b + 1))
	if not head or head.alg ~= "EdDSA" or not signature or not signed(jwt:sub(1, b - 1), signature) then return nil end
	local c = cjson.decode(unbase64(jwt:sub(a + 1, b - 1)) or "")
	if not c or c.iss ~= settings.issuer or c.aud ~= settings.issuer or not c.tenant or not c.exp then return nil end
	if c.exp + LEEWAY < ngx.time() then return nil end
	return { tenant = c.tenant, ends = c.exp + LEEWAY, may = (" " .. (c.scope or "") .. " "):find(" kfsession:write ", 1, true) ~= nil }
end

local function identify(jwt)
	local known = jwts:get(jwt)
	if not known then
		known = verify(jwt)
		if not known then return nil end
		-- LuaJIT hashes only a few bytes of a long text, so the claims of all JWTs collide. Without this,
		-- 100,000 first calls would take minutes.
		verified = verified + 1
		if verified % 1000 == 0 then collectgarbage() end
		jwts:set(jwt, known, known.ends - ngx.time())
	end
	return known
end

local function find(appid)
	local known = authorizers:get(appid)
	if known then return known end
	local r = redis:new()
	r:set_timeout(1000)
	if not r:connect(settings.redis_host, settings.redis_port) then return nil, 503 end
	local text, failed = r:get("bench-authorizer:" .. appid)
	if failed then return nil, 503 end
	r:set_keepalive(60000, 512)
	if not text or text == ngx.null then return nil, 404 end
	known = cjson.decode(text)
	for _, set in ipairs(known.sets) do
		if set == 1 or set == 6 or set == 100 or set == 101 then known.may = true end
	end
	authorizers:set(appid, known, KEPT)
	return known
end

function M.access()
	local h = ngx.var.http_authorization
	if not h or h:sub(1, 7) ~= "Bearer " then return ngx.exit(401) end
	local caller = identify(h:sub(8))
	if not caller then return ngx.exit(401) end
	if not caller.may then return ngx.exit(403) end
	local authorizer, failed = find(ngx.var.appid)
	if not authorizer then return ngx.exit(failed) end
	if authorizer.tenant ~= caller.tenant then return ngx.exit(404) end
	if not authorizer.may then return ngx.exit(403) end
	ngx.var.token = authorizer.token
	ngx.var.tenant = caller.tenant
end

-- count is a histogram of the worker.
local buckets, bounds = {}, {}
for i = 0, 13 do bounds[i + 1] = 0.0005 * 2 ^ i end
function M.count()
	local took = tonumber(ngx.var.request_time)
	local per = buckets[ngx.status]
	if not per then
		per = { sum = 0, count = 0 }
		for i = 1, 15 do per[i] = 0 end
		buckets[ngx.status] = per
	end
	per.sum, per.count = per.sum + took, per.count + 1
	for i = 1, 14 do
		if took <= bounds[i] then per[i] = per[i] + 1; return end
	end
	per[15] = per[15] + 1
end

return M
