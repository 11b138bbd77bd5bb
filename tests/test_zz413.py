import sys; sys.path.insert(0,'/work/main')
import pytest, requests, json, httpx2
from tests import kit
def test_x(site, up, alice):
    s=kit.supply(up)
    data=json.dumps(kit.ask(s))[:-1].encode()+b',"p":"'+b'x'*33_000_000+b'"}'
    for i in range(5):
        try: print('requests', requests.post(site.url+'/v1/chat/completions',data=data,headers={**alice.auth,'Content-Type':'application/json'}).status_code)
        except Exception as e: print('requests', repr(e)[:200])
        try: print('httpx', httpx2.post(site.url+'/v1/chat/completions',content=data,headers={**alice.auth,'Content-Type':'application/json'}).status_code)
        except Exception as e: print('httpx', repr(e)[:200])
