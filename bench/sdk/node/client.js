'use strict';

// Runs one of the npm packages for the suite: it reads one call a line from standard input, as JSON,
// and writes its result as one line. The first call is "open".

const readline = require('readline');
const { URL } = require('url');

const button = (name) => ({ button: [{ type: 'click', name, key: 'V1' }] });

// Nothing but the host, the port and the credential differs from the package's README.
const openers = {
  'co-wechat-api': ({ base, appid, secret, stable }) => {
    if (stable) return null;
    const API = require('co-wechat-api');
    const { hostname, port } = new URL(base);
    const api = new API(appid, secret);
    api.setOpts({ beforeRequest(options) { options.host = hostname; options.port = port; return options; } });
    return {
      addresses: () => api.getIp(),
      send: ([customer, text]) => api.sendText(customer, text),
      menu: ([name]) => api.createMenu(button(name)),
      upload: async ([file]) => (await api.uploadMedia(file, 'image')).media_id,
      download: async ([id]) => (await api.getMedia(id)).toString('base64'),
      create: ([agent, customer]) => api.createKfSession(agent, customer),
      miniLogin: async ([code]) => (await api.code2Session(code)).openid,
    };
  },
  'wechat-api': ({ base, appid, secret, stable }) => {
    if (stable) return null;
    const API = require('wechat-api');
    const api = new API(appid, secret);
    api.endpoint = base;
    const call = (name, ...args) => new Promise((resolve, reject) => {
      api[name](...args, (err, data) => (err ? reject(err) : resolve(data)));
    });
    return {
      addresses: () => call('getIp'),
      send: ([customer, text]) => call('sendText', customer, text),
      menu: ([name]) => call('createMenu', button(name)),
      upload: async ([file]) => (await call('uploadMedia', file, 'image')).media_id,
      download: async ([id]) => (await call('getMedia', id)).toString('base64'),
      create: ([agent, customer]) => call('createKfSession', agent, customer),
      get: ([, customer]) => call('getKfSession', customer),
      list: ([agent]) => call('getKfSessionList', agent),
      waiting: () => call('getKfSessionWaitCase'),
      close: ([agent, customer]) => call('closeKfSession', agent, customer),
    };
  },
  'node-easywechat': ({ base, appid, secret, stable, dir }) => {
    const { MiniApp, OfficialAccount } = require('node-easywechat');
    const app = new OfficialAccount({
      app_id: appid, secret, use_stable_access_token: stable,
      http: { baseURL: base + '/' }, file_cache: { path: dir },
    });
    // The package leaves errcodes to its caller.
    const told = (response) => {
      const answer = response.toObject();
      if (answer && answer.errcode) throw Object.assign(new Error(answer.errmsg), { code: answer.errcode });
      return answer;
    };
    const post = async (url, object) => told(await app.getClient().postJson(url, object));
    const get = async (url, params, more) => app.getClient().get(url, { params, ...more });
    return {
      addresses: async () => told(await get('cgi-bin/getcallbackip')),
      send: ([customer, text]) => post('cgi-bin/message/custom/send', { touser: customer, msgtype: 'text', text: { content: text } }),
      menu: ([name]) => post('cgi-bin/menu/create', button(name)),
      upload: async ([file]) => told(await app.getClient().withFile(file, 'media').post('cgi-bin/media/upload', { params: { type: 'image' } })).media_id,
      download: async ([id]) => {
        const response = await get('cgi-bin/media/get', { media_id: id }, { responseType: 'arraybuffer' });
        return Buffer.from(response.getContent(false)).toString('base64');
      },
      create: ([agent, customer]) => post('customservice/kfsession/create', { kf_account: agent, openid: customer }),
      get: async ([, customer]) => told(await get('customservice/kfsession/getsession', { openid: customer })),
      list: async ([agent]) => told(await get('customservice/kfsession/getsessionlist', { kf_account: agent })),
      waiting: async () => told(await get('customservice/kfsession/getwaitcase')),
      close: ([agent, customer]) => post('customservice/kfsession/close', { kf_account: agent, openid: customer }),
      miniLogin: async ([code]) => {
        const mini = new MiniApp({ app_id: appid, secret, http: { baseURL: base + '/' }, file_cache: { path: dir } });
        return (await mini.getUtils().codeToSession(code)).openid;
      },
    };
  },
};

let client;

async function run({ call, settings, args }) {
  if (call === 'open') {
    client = openers[settings.package](settings);
    return client ? {} : { missing: true };
  }
  if (!client[call]) return { missing: true };
  const value = await client[call](args);
  return { value: typeof value === 'string' ? value : '' };
}

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  let result;
  try {
    result = await run(JSON.parse(line));
  } catch (err) {
    result = { code: Number(err.code) || 0, error: String((err && err.message) || err) };
  }
  process.stdout.write(JSON.stringify(result) + '\n');
});
