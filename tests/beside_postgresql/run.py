"""Differential runs: run.py WORLD FIRST COUNT [BINARY]"""
import sys, os, re, time, json, copy, subprocess, random, struct, collections, signal
from decimal import Decimal, InvalidOperation
sys.setrecursionlimit(10000)
import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
import gen
from tree import *
PGP = 6931
HERE = os.path.dirname(os.path.abspath(__file__))
ENC = {}
def encbin(ty, v):
    import datetime as D
    if ty == "int4": return struct.pack("!i", int(v))
    if ty == "int8": return struct.pack("!q", int(v))
    if ty == "int2": return struct.pack("!h", int(v))
    if ty == "float8": return struct.pack("!d", float(v))
    if ty == "float4": return struct.pack("!f", float(v))
    if ty in ("text", "varchar"): return v.encode()
    if ty == "bool": return b"\x01" if v == "true" else b"\0"
    if ty == "bytea": return bytes.fromhex(v[2:])
    if ty == "uuid": return bytes.fromhex(v.replace("-", ""))
    if ty == "json": return v.encode()
    if ty == "jsonb": return b"\x01" + v.encode()
    if ty == "date": return struct.pack("!i", (D.date.fromisoformat(v) - D.date(2000, 1, 1)).days)
    if ty == "timestamp": return struct.pack("!q", int((D.datetime.fromisoformat(v) - D.datetime(2000, 1, 1)) / D.timedelta(microseconds=1)))
    if ty == "numeric":
        from psycopg.types.numeric import DecimalBinaryDumper
        return bytes(DecimalBinaryDumper(Decimal).dump(Decimal(v)))
    return None

class Db:
    def __init__(s, dsn, name): s.dsn = dsn; s.name = name; s.c = None; s.types = {}; s.pre = []; s.connect()
    def connect(s):
        s.c = pq.PGconn.connect(s.dsn.encode())
        if s.c.status != pq.ConnStatus.OK: raise ConnectionError(s.c.error_message.decode())
        for x in s.pre: s.run(x)
    def run(s, sql, params=(), fmt=0):
        """('ok', names, oids, rows, ptypes) or ('err', state, message)"""
        try:
            if not params and fmt == 0 and not getattr(s, "ext", False): r = s.c.exec_(sql.encode()); pt = None
            else:
                vals = []; oids = []; fmts = []
                for p in params:
                    b = encbin(p.ty, p.val) if p.binary else None
                    vals.append(b if b is not None else p.val.encode()); fmts.append(1 if b is not None else 0); oids.append(gen.OIDS[p.ty] if p.declared else 0)
                r = s.c.prepare(b"", sql.encode(), oids); pt = None
                if r.status == pq.ExecStatus.COMMAND_OK:
                    d = s.c.describe_prepared(b""); 
                    if d.status == pq.ExecStatus.COMMAND_OK:
                        pt = [d.param_type(i) for i in range(d.nparams)]; dn = [d.ftype(i) for i in range(d.nfields)]
                        r = s.c.exec_prepared(b"", vals, fmts, fmt)
                        if r.status == pq.ExecStatus.TUPLES_OK and dn != [r.ftype(i) for i in range(r.nfields)]: return ("err", "DESCR", "describe and result differ")
                    else: r = d
            if r.status == pq.ExecStatus.TUPLES_OK:
                rows = [[r.get_value(i, j) for j in range(r.nfields)] for i in range(r.ntuples)]
                return ("ok", [r.fname(j).decode() for j in range(r.nfields)], [s.tname(r.ftype(j)) for j in range(r.nfields)], rows, pt and [s.tname(x) for x in pt])
            if r.status == pq.ExecStatus.COMMAND_OK: return ("ok", [], [], [], None)
            st = (r.error_field(pq.DiagnosticField.SQLSTATE) or b"?????").decode(); m = (r.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or r.error_message).decode()
            if s.c.status != pq.ConnStatus.OK: return ("dead", st, m)
            return ("err", st, m)
        except psycopg.Error as e:
            if s.c.status != pq.ConnStatus.OK: return ("dead", "?", str(e))
            return ("err", "?????", "client: " + str(e))
    def tname(s, oid):
        if oid not in s.types:
            if oid < 10000: s.types[oid] = oid
            else:
                r = s.c.exec_(b"select typname from pg_type where oid = %d" % oid); s.types[oid] = r.get_value(0, 0).decode() if r.status == 2 and r.ntuples else oid
        return s.types[oid]

TEXTY = {25, 1043, 1042}
def num(b):
    try: return Decimal(b.decode())
    except InvalidOperation: return b
def fl(b):
    try: return float(b)
    except ValueError: return b
def close(a, b, rel, ab):
    if a == b: return True
    if isinstance(a, bytes) or isinstance(b, bytes): return False
    if a != a or b != b: return a != a and b != b
    if a in (float("inf"), float("-inf")) or b in (float("inf"), float("-inf")): return False
    return abs(a - b) <= ab + rel * max(abs(a), abs(b))
def jclose(a, b):
    if isinstance(a, bool) or isinstance(b, bool): return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)): return close(float(a), float(b), 1e-9, 1e-9)
    if type(a) != type(b): return False
    if isinstance(a, list): return len(a) == len(b) and all(map(jclose, a, b))
    if isinstance(a, dict): return list(a) == list(b) and all(jclose(a[k], b[k]) for k in a)
    return a == b
def cell(a, b, oid):
    if a is None or b is None: return a is b
    if a == b: return True
    if oid in (700, 701): return close(fl(a), fl(b), 1e-9 if oid == 701 else 1e-5, 1e-11)
    if oid == 1700:
        x, y = num(a), num(b)
        if x == y: return True
        if isinstance(x, bytes) or isinstance(y, bytes): return False
        if x.is_nan() or y.is_nan(): return x.is_nan() and y.is_nan()
        return abs(x - y) <= Decimal("1.1e-10") + abs(x) * Decimal("1e-12")
    if oid in (114, 3802):
        try: return jclose(json.loads(a), json.loads(b))
        except Exception: return False
    if oid == 1042: return a.rstrip() == b.rstrip()
    if oid == 1231 or oid == 1022:
        x, y = a.decode().strip("{}").split(","), b.decode().strip("{}").split(",")
        return len(x) == len(y) and all(cell(None if i == "NULL" else i.encode(), None if j == "NULL" else j.encode(), 1700) for i, j in zip(x, y))
    return False
def ckey(v, oid):
    if v is None: return (0, "")
    try:
        if oid in (700, 701): x = float(v); return (1, "%.6g" % (x + 0.0)) if x != 0 else (1, "0")
        if oid == 1700: return (1, "%.8g" % (float(v) + 0.0)) if float(v) != 0 else (1, "0")
        if oid in (114, 3802): return (1, json.dumps(json.loads(v, parse_float=lambda x: float("%.6g" % float(x)) if float(x) % 1 else int(float(x))), sort_keys=True))
        if oid == 1042: return (1, v.rstrip().decode())
        if oid in (1231, 1022): return (1, ",".join("%.8g" % float(x) if x != "NULL" else x for x in v.decode().strip("{}").split(",") if x))
    except Exception: pass
    return (1, v.decode("utf8", "replace"))
def rowsdiff(ra, rb, oids, ordered):
    """None where alike"""
    if len(ra) != len(rb): return "count %d / %d" % (len(ra), len(rb))
    same = lambda x, y: all(cell(a, b, o) for a, b, o in zip(x, y, oids))
    if all(same(x, y) for x, y in zip(ra, rb)): return None
    k = lambda r: [ckey(v, o) for v, o in zip(r, oids)]
    sa, sb = sorted(ra, key=k), sorted(rb, key=k)
    if all(same(x, y) for x, y in zip(sa, sb)): return "order" if ordered else None
    left = list(sb); miss = []
    for x in sa:
        for i, y in enumerate(left):
            if same(x, y): del left[i]; break
        else: miss.append(x)
    if not miss: return "order" if ordered else None
    return "pg %r au %r" % (miss[:2], left[:2])
def norm(m):
    m = re.sub(r'"[^"]*"', '"_"', m); m = re.sub(r"'[^']*'", "'_'", m); m = re.sub(r"\b[a-z]\d+\b", "x", m); m = re.sub(r"-?\d+(\.\d+)?", "0", m)
    return m[:160]
def loose(o):
    o = {"_posint": 1007, "_shorttext": 1009}.get(o, o)
    return "texty" if o in TEXTY else o

def compare(a, b, ordered, fmt):
    """(category, detail) or None"""
    if b[0] == "dead": return ("crash", b[1] + " " + b[2][:200])
    if a[0] == "dead": return None
    if a[0] == "ok" and b[0] == "err":
        return ("aux_err", b[1] + " " + b[2])
    if a[0] == "err" and b[0] == "ok":
        return ("pg_err", a[1] + " " + a[2])
    if a[0] == "err":
        if a[1][:2] != b[1][:2]: return ("state", a[1] + " " + a[2] + " / " + b[1] + " " + b[2])
        return None
    if len(a[2]) != len(b[2]): return ("types", "columns %d / %d" % (len(a[2]), len(b[2])))
    ta = [loose(x) for x in a[2]]; tb = [loose(x) for x in b[2]]
    bad = [(x, y) for x, y in zip(ta, tb) if x != y and not (x == 2249 and y == 114)]
    if bad: return ("types", "%s / %s" % bad[0])
    if a[4] is not None and b[4] is not None and [loose(x) for x in a[4]] != [loose(x) for x in b[4]]:
        bad = [(x, y) for x, y in zip(a[4], b[4]) if loose(x) != loose(y)] or [(len(a[4]), len(b[4]))]
        return ("ptypes", "%s / %s" % bad[0])
    if fmt == 0:
        d = rowsdiff(a[3], b[3], [x if y != 114 or x != 2249 else 0 for x, y in zip(a[2], b[2])] if True else 0, ordered)
        if d and not any(x == 2249 for x in a[2]): return ("order" if d == "order" else "rows", d)
    else:
        oids = a[2]
        def dec(v, o):
            if v is None: return None
            if o == 701: return repr(struct.unpack("!d", v)[0]).encode()
            if o == 700: return repr(struct.unpack("!f", v)[0]).encode()
            if o == 1700:
                n, w, sg, ds = struct.unpack("!hhHH", v[:8]); dg = struct.unpack("!%dh" % n, v[8:8 + 2 * n])
                if sg == 0xC000: return b"NaN"
                x = sum((Decimal(d) * (Decimal(10000) ** (w - i)) for i, d in enumerate(dg)), Decimal(0)); return str(-x if sg else x).encode()
            if o == 3802: return v[1:]
            if o == 1231: return b""
            if isinstance(o, str) and o.startswith("_"): v = v[:8] + v[12:]
            if o in (1007, 1009, 1016, 1115, 2951) or isinstance(o, str) and o.startswith("_"): v = v[:4] + b"\0\0\0\0" + v[8:]
            return v if o in (114, 1042) else v.hex().encode()
        d = rowsdiff([[dec(v, o) for v, o in zip(r, oids)] for r in a[3]], [[dec(v, o) for v, o in zip(r, oids)] for r in b[3]], oids, ordered)
        if d and not any(x == 2249 for x in a[2]): return ("order" if d == "order" else "binrows", d)
    if a[1] != b[1]: return ("names", "%s / %s" % next((x, y) for x, y in zip(a[1], b[1]) if x != y))
    return None

def sig(f):
    cat, d = f
    if cat == "rows" or cat == "order" or cat == "binrows": return (cat, "")
    if cat == "crash": return (cat, "")
    if cat == "state": return (cat, " / ".join(norm(x) for x in d.split(" / ")))
    return (cat, norm(d))

class Fuzz:
    def __init__(s, world, port, binary):
        s.world = world; s.port = port; s.binary = binary; s.proc = None
        s.known = []
        s.start()
        pgs, aus, s.tables = gen.world(world)
        tz = ["UTC", "America/New_York", "Europe/Berlin"][world % 3]
        db = os.environ.get("FZ_PRE", "w") + str(world)
        c = psycopg.connect("host=127.0.0.1 port=%d user=postgres dbname=postgres" % PGP, autocommit=True)
        c.execute("drop database if exists %s with (force)" % db); c.execute("create database %s template template0 lc_collate 'C' lc_ctype 'C.UTF-8'" % db); c.close()
        s.pg = Db("host=127.0.0.1 port=%d user=postgres dbname=%s" % (PGP, db), "pg")
        if binary == "none":
            c = psycopg.connect("host=127.0.0.1 port=%d user=postgres dbname=postgres" % PGP, autocommit=True)
            c.execute("drop database if exists %sb with (force)" % db); c.execute("create database %sb template template0 lc_collate 'C' lc_ctype 'C.UTF-8'" % db); c.close()
            aus = [re.sub(r" PARTITIONED BY .*", "", x) for x in aus]
            s.au = Db("host=127.0.0.1 port=%d user=postgres dbname=%sb" % (PGP, db), "au")
        else: s.au = Db("host=127.0.0.1 port=%d user=postgres dbname=postgres" % port, "au")
        s.pg.pre = ["set timezone='%s'" % tz, "set statement_timeout='4s'", "set client_min_messages=error", "set extra_float_digits=1"]; s.au.pre = ["set timezone='%s'" % tz, "set statement_timeout='60s'", "set client_min_messages=error"]
        if binary == "none": s.au.pre += ["set enable_hashjoin=off", "set enable_hashagg=off", "set enable_mergejoin=off", "set enable_material=off"]
        for d in (s.pg, s.au):
            for x in d.pre:
                r = d.run(x)
                if r[0] != "ok": print("pre", d.name, x, r)
        for d, ss in ((s.pg, pgs), (s.au, aus)):
            t0 = time.time()
            for x in ss:
                r = d.run(x)
                if r[0] != "ok" and r[1] == "57014": r = d.run(x)
                if r[0] != "ok":
                    print("SETUP", d.name, x[:300], r, flush=True)
                    if r[1] == "57014": s.proc.kill(); raise SystemExit("set-up failed")
            print(d.name, "setup", round(time.time() - t0, 1), flush=True)
        n = 0
        for name, q, cols in gen.view_defs(world, s.tables):
            if any(c[1] == "bpchar" for c in cols): continue
            sql = "CREATE VIEW %s AS %s" % (name, render(q)[0])
            r = s.pg.run(sql)
            if r[0] != "ok": continue
            r = s.pg.run("select * from " + name)
            ra = s.au.run(sql)
            if ra[0] != "ok" : print("VIEW", sql[:400], ra); s.log({"cat": "view", "detail": str(ra), "sql": sql}); s.pg.run("drop view " + name); continue
            if r[0] != "ok" or len(set(c[0] for c in cols)) != len(cols): continue
            cols = [(n, c[1]) for n, c in zip(r[1], cols)]
            t2 = gen.Table(name, cols, None if any(c[1] in gen.UNSORT for c in cols) else [c[0] for c in cols]); t2.rows = len(r[3])
            s.tables.append(t2)
        s.pg.ext = s.au.ext = False
    def start(s):
        if s.proc: 
            s.proc.kill(); s.proc.wait()
        if s.binary == "none": return
        subprocess.run(["rm", "-rf", "/tmp/w_%d" % s.port])
        s.srvlog = open(HERE + "/srv_%d.log" % s.world, "a")
        s.proc = subprocess.Popen(["srv", str(s.port), s.binary], stdout=s.srvlog, stderr=s.srvlog)
        for _ in range(120):
            try: psycopg.connect("host=127.0.0.1 port=%d user=postgres dbname=postgres" % s.port).close(); break
            except psycopg.Error: time.sleep(.5)
    def log(s, rec):
        rec["world"] = s.world; rec["build"] = s.binary
        with open(HERE + "/findings.jsonl" if s.binary != "none" else "/dev/null", "a") as f: f.write(json.dumps(rec) + "\n")
    def both(s, tree, ordered, fmt, ext):
        sql, params = render(tree)
        s.pg.ext = s.au.ext = ext
        a = s.pg.run(sql, params, fmt)
        if a[0] == "dead": s.pg.connect(); return None, sql, params, a, None
        if a[0] == "err" and (a[1] in ("57014", "42P18", "42725", "54001", "53100") ): return None, sql, params, a, None
        if a[0] == "ok" and len(a[3]) > 20000: return None, sql, params, a, None
        b = s.au.run(sql, params, fmt)
        f = compare(a, b, ordered, fmt)
        if b[0] == "dead":
            try: s.au.connect()
            except ConnectionError:
                s.start()
                s.log({"cat": "server", "sql": sql}); raise SystemExit("server gone: " + sql)
        return f, sql, params, a, b
    def isknown(s, f, sql, post=False):
        try: ks = json.load(open(HERE + "/known.json"))
        except FileNotFoundError: ks = []
        for k in ks:
            if k.get("post") and not post: continue
            if re.fullmatch(k.get("cat", ".*"), f[0]) and re.search(k.get("msg", ""), f[1], re.S) and re.search(k.get("sql", ""), sql, re.S): return k["id"]
        return None
    def reduce(s, tree, want, ordered, fmt, ext, limit=250, secs=40):
        t0 = time.time(); tries = 0
        cur = tree
        seen = set()
        def ok(t2):
            nonlocal tries
            sql, _ = render(t2)
            if sql in seen: return False
            seen.add(sql); tries += 1
            if want[0] == "order":
                d = 0; top = []
                for ch in sql:
                    if ch == "(": d += 1
                    elif ch == ")": d -= 1
                    elif d == 0: top.append(ch)
                if "ORDER BY" not in "".join(top): return False
            f, *_ = s.both(t2, ordered, fmt, ext)
            return f is not None and sig(f) == want
        progress = True
        while progress and tries < limit and time.time() - t0 < secs:
            progress = False
            i = 0
            while i < len(nodes(cur)) and tries < limit and time.time() - t0 < secs:
                done = False
                for cand in s.edits(cur, i):
                    if size(cand) >= size(cur): continue
                    if ok(cand): cur = cand; done = True; progress = True; break
                    if tries >= limit or time.time() - t0 > secs: break
                if not done: i += 1
        return cur, tries
    def edits(s, root, i):
        ns = nodes(root); n = ns[i]
        def made(fn):
            memo = {}
            c = copy.deepcopy(root, memo); m = nodes(c)[i]
            fn(m); return c
        if n.k == "opt" and n.p:
            yield made(lambda m: m.p.clear())
        if n.k == "q":
            for d in [x for x in nodes(n)[1:] if x.k == "q"][:6]:
                j = ns.index(d)
                def f(m, d=d):
                    m.p = copy.deepcopy(d.p)
                memo = {}
                c = copy.deepcopy(root, memo); mm = nodes(c); mm[i].p = list(mm[j].p); yield c
        if n.k == "f":
            for d in [x for x in nodes(n)[1:] if x.k == "f"][:6]:
                j = ns.index(d); c = copy.deepcopy(root); mm = nodes(c); mm[i].p = list(mm[j].p); yield c
        if n.k == "lst" and len(n.p) > n.min:
            for k in range(len(n.p)):
                if isinstance(n.p[k], N) and n.p[k].k in ("ord", "fix"): continue
                yield made(lambda m: m.p.pop(k))
        if n.k == "e":
            if isinstance(n.p[0] if n.p else None, str) and len(n.p) == 1 and len(n.p[0]) < 12: return
            if n.ty == "bool": yield made(lambda m: setattr(m, "p", ["true"]))
            for d in [x for x in nodes(n)[1:] if x.k == "e" and x.ty == n.ty][:8]:
                j = ns.index(d); c = copy.deepcopy(root); mm = nodes(c); mm[i].p = list(mm[j].p); yield c
            yield made(lambda m: setattr(m, "p", ["NULL::" + gen.DECL[n.ty]]))
            simple = {"int4": "1", "int8": "2::bigint", "text": "'a'::text", "numeric": "1.50::numeric(10,2)", "date": "DATE '2024-01-01'", "jsonb": "'{\"a\": 1}'::jsonb", "float8": "1.5::float8", "int4[]": "'{1,2}'::int[]", "text[]": "'{a,b}'::text[]"}.get(n.ty)
            if simple: yield made(lambda m: setattr(m, "p", [simple]))
            if n.ty == "bool": yield made(lambda m: setattr(m, "p", ["false"]))

def main():
    world, first, count = map(int, sys.argv[1:4]); binary = sys.argv[4] if len(sys.argv) > 4 else "auspex-dbg"
    secs = float(sys.argv[5]) if len(sys.argv) > 5 else 1e9
    fz = Fuzz(world, 7100 + world % 50, binary)
    stats = collections.Counter(); sigs = collections.Counter(); t0 = time.time(); tp = ta = 0
    try: seen = collections.Counter(tuple(json.loads(l)["sig"]) for l in open(HERE + "/findings.jsonl") if '"sig"' in l and json.loads(l)["build"] == binary)
    except FileNotFoundError: seen = collections.Counter()
    for i in range(first, first + count):
        if time.time() - t0 > secs: break
        rng = random.Random(world * 10**6 + i)
        tree, total = gen.statement(world * 10**6 + i, fz.tables)
        fmt = 1 if rng.random() < .12 else 0; ext = rng.random() < .3
        t1 = time.time(); f, sql, params, a, b = fz.both(tree, total, fmt, ext); dt = time.time() - t1
        stats["n"] += 1; stats[a[0] + ("" if a[0] == "ok" else " " + a[1])] += 1
        if dt > 20: print("SLOW", round(dt), sql[:1500], flush=True); fz.log({"cat": "slow", "detail": "%.1f s" % dt, "sql": sql, "i": i})
        if f is None: continue
        k = fz.isknown(f, sql)
        if dt > 6: k = k or "slow one"
        stats["finding " + f[0]] += 1
        if k: stats["known " + k] += 1; continue
        sg = sig(f); sigs[sg] += 1
        lim = 4 if sg[0] in ("rows", "order", "binrows") else 1
        if sg[0] in ("rows", "order", "binrows", "crash"): pass
        elif seen.get(sg, 0) >= (3 if re.match("0A|XX|22000|42000|42703|42804|42883", f[1]) or f[0] in ("types", "ptypes") else 1): stats["seen"] += 1; seen[sg] += 1; continue
        seen[sg] = seen.get(sg, 0) + 1
        small, tries = fz.reduce(tree, sg, total, fmt, ext, limit=120, secs=10)
        f2, sql2, params2, a2, b2 = fz.both(small, total, fmt, ext)
        f2 = f2 or f
        k = fz.isknown(f2, sql2, True)
        if k: stats["known " + k] += 1; continue
        rec = {"cat": f2[0], "detail": f2[1][:600], "sig": list(sg), "sql": sql2, "params": [(p.ty, p.val, p.declared, p.binary) for p in params2], "i": i, "fmt": fmt, "ext": ext, "tries": tries, "orig": sql}
        fz.log(rec)
        print("---", f2[0], "|", f2[1][:300], "| i", i, "fmt", fmt, "ext", ext, "tries", tries, "\n   ", sql2[:900], rec["params"] or "", flush=True)
        if i % 200 == 0: pass
    for l in open(HERE + "/srv_%d.log" % world) if binary != "none" else []:
        if "panicked" in l: print("PANIC", l.strip()[:300])
    try: rss = open("/proc/%d/status" % fz.proc.pid).read().split("VmRSS:")[1].split("\n")[0].strip()
    except Exception: rss = "?"
    print("world", world, "secs", round(time.time() - t0), "rss", rss, dict(stats))
    if fz.proc: fz.proc.terminate(); fz.proc.wait()
if __name__ == "__main__": main()
