"""Rspamd with two rules of our own and nothing else: no Redis, no network, no maps, one language; so it starts in a moment."""
import pathlib
import shutil

from .process import Process, free_port, wait_for_port
from .scanner import Scanner

RSPAMD = "/usr/bin/rspamd"
WORD = "GATEPOST-SPAM-TEST"             # 6.5 points; GATEPOST-REJECT-TEST: 20
LUA = """
local function has(word)
  return function(task)
    local text = task:get_rawbody()
    return text and tostring(text):find(word, 1, true) ~= nil
  end
end
rspamd_config:register_symbol({ name = 'GATEPOST_TEST', score = 6.5, callback = has('GATEPOST-SPAM-TEST') })
rspamd_config:register_symbol({ name = 'GATEPOST_REJECT', score = 20, callback = has('GATEPOST-REJECT-TEST') })
local function told(name, value)
  rspamd_config:register_symbol({ name = 'TOLD_' .. name, score = -0.01, callback = function(task) return value(task) end })
end
told('IP_127_0_0_1', function(task) return tostring(task:get_ip()) == '127.0.0.1' end)
told('HELO', function(task) return task:get_helo() == 'client.example' end)
told('FROM', function(task) local f = task:get_from('smtp') return f and f[1].addr == 'alice@sender.example' end)
told('NULL', function(task) local f = task:get_from('smtp') return f and f[1].addr == '' end)
told('RCPTS_2', function(task) local r = task:get_recipients('smtp') return r and #r == 2 end)
told('QUEUE_ID', function(task) return task:get_queue_id() ~= 'undef' end)
"""


class Rspamd(Scanner):
    def __init__(self, directory, worker=""):
        self.dir = pathlib.Path(directory)
        (self.dir / "languages").mkdir(parents=True)
        shutil.copy("/usr/share/rspamd/languages/de.json", self.dir / "languages")
        (self.dir / "tlds").write_text("com\norg\nexample\n")
        (self.dir / "own.lua").write_text(LUA)
        self.port = free_port()
        (self.dir / "rspamd.conf").write_text(f"""
options {{
  filters = "";
  disable_hyperscan = true;
  tempdir = "{self.dir}";
  url_tld = "{self.dir}/tlds";
  control_socket = "{self.dir}/control mode=0600";
  pidfile = "{self.dir}/pid";
  dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }}
  max_message = 200k;
}}
logging {{ type = "console"; level = "info"; }}
lang_detection {{ languages = "{self.dir}/languages"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{self.port}"; count = 1; {worker} }}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
lua = "{self.dir}/own.lua";
""")
        self.start()

    def start(self):
        self.process = Process([RSPAMD, "-c", str(self.dir / "rspamd.conf"), "-f", "-i"], cwd=str(self.dir))
        wait_for_port(self.port)
