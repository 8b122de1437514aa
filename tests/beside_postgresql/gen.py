"""Random but valid PostgreSQL SELECTs over a random schema."""
import random, re
from tree import *

COLS = [  # name, type, declaration
    ("a", "int4", "int"), ("b", "int8", "bigint"), ("c", "int2", "smallint"), ("n", "numeric", "numeric(10,2)"),
    ("m", "numeric", "numeric(18,6)"), ("f", "float8", "double precision"), ("r", "float4", "real"), ("s", "text", "text"),
    ("v", "varchar", "varchar(20)"), ("ch", "bpchar", "char(5)"), ("ok", "bool", "boolean"), ("d", "date", "date"),
    ("tm", "time", "time"), ("ts", "timestamp", "timestamp"), ("tz", "timestamptz", "timestamptz"), ("iv", "interval", "interval"),
    ("u", "uuid", "uuid"), ("j", "json", "json"), ("jb", "jsonb", "jsonb"), ("by", "bytea", "bytea"), ("ia", "int4[]", "int[]"),
    ("ta", "text[]", "text[]"), ("na", "numeric[]", "numeric(8,2)[]"), ("e", "mood", "mood"), ("di", "int4", "posint"), ("dt", "text", "shorttext"),
]
COLTY = {c[0]: c[1] for c in COLS}; COLTY["id"] = "int4"; COLTY["pid"] = "int4"
DECL = {"int4": "int", "int8": "bigint", "int2": "smallint", "numeric": "numeric(10,2)", "float8": "float8", "float4": "real", "text": "text",
        "varchar": "varchar(20)", "bpchar": "char(5)", "bool": "boolean", "date": "date", "time": "time", "timestamp": "timestamp",
        "timestamptz": "timestamptz", "interval": "interval", "uuid": "uuid", "json": "json", "jsonb": "jsonb", "bytea": "bytea",
        "int4[]": "int[]", "text[]": "text[]", "numeric[]": "numeric(8,2)[]", "mood": "mood"}
TYPES = list(DECL)
UNSORT = {"json"}
SORT = [t for t in TYPES if t not in UNSORT]
OIDS = {"int4": 23, "int8": 20, "int2": 21, "numeric": 1700, "float8": 701, "float4": 700, "text": 25, "varchar": 1043, "bpchar": 1042, "bool": 16,
        "date": 1082, "time": 1083, "timestamp": 1114, "timestamptz": 1184, "interval": 1186, "uuid": 2950, "json": 114, "jsonb": 3802,
        "bytea": 17, "int4[]": 1007, "text[]": 1009, "numeric[]": 1231}
COMMON = ["int4", "int4", "int8", "numeric", "float8", "text", "text", "bool", "date", "timestamp", "varchar", "int2", "timestamptz", "interval",
          "uuid", "jsonb", "mood", "time", "text[]", "int4[]", "bytea", "bpchar", "numeric[]", "json", "float4"]
UU = ["%08x-0000-4000-8000-00000000000%x" % (i * 7919, i) for i in range(8)] + ["ffffffff-ffff-ffff-ffff-ffffffffffff"]
TEXTS = ["", "a", "b", "ab", "abc", "A", "Ab", "foo", "bar", "Foo", "x y", "é", "Éa", "10", "-3", "%", "a%b", "_", "it's", "null", " a ", "\\", "zz", "a,b", "a-b-c", "日本"]
JSONB = ['{"a": 1}', '{"a": 2, "b": "x"}', '[1, 2, 3]', '[]', '{}', 'null', '"foo"', '1', '1.5', 'true', '{"a": {"b": [1, null, "z"]}}', '["a", "b"]',
         '{"a": null}', '{"a": [1, 2], "k": false}', '[{"a": 1}, {"a": 2}]', '{"b": "", "a": "é"}', '[[1], [2, 3]]', '-7']
WORLD = {"nan": False, "negzero": False, "big": False}

def raw(rng, ty):
    """a value as text"""
    c = rng.choice
    if ty == "int4":
        if WORLD["big"] and rng.random() < .05: return c(["2147483647", "-2147483648"])
        return str(c([0, 1, 1, 2, 2, 3, 4, 5, 7, 10, 20, 42, 100, -1, -2, -5, -100, 999, rng.randint(-50, 50), rng.randint(-1000, 1000)]))
    if ty == "int8":
        if WORLD["big"] and rng.random() < .05: return c(["9223372036854775807", "-9223372036854775807", "4611686018427387904"])
        return str(c([0, 1, 2, 3, 5, 10, 42, -1, -7, 100000, 3000000000, rng.randint(-50, 50), rng.randint(-10**6, 10**6)]))
    if ty == "int2": return str(c([0, 1, 2, 3, 5, 10, -1, -3, 100, rng.randint(-30, 30)]))
    if ty == "numeric": return c(["0", "0.00", "1", "1.50", "2.25", "-1.50", "3.00", "10.01", "99.99", "-0.01", "%d.%02d" % (rng.randint(-100, 1000), rng.randint(0, 99)), str(rng.randint(-10, 10)), "0.50"])
    if ty in ("float8", "float4"):
        if WORLD["nan"] and rng.random() < .08: return c(["NaN", "Infinity", "-Infinity"])
        if WORLD["negzero"] and rng.random() < .08: return "-0"
        return c(["0", "1", "1.5", "2", "-1.5", "0.25", "100", "3.75", "-2", "%g" % (rng.randint(-4000, 4000) / 4), "%g" % (rng.randint(-40, 40) / 2)])
    if ty == "text": return c(TEXTS)
    if ty == "varchar": return c(TEXTS)
    if ty == "bpchar": return c(["a", "b", "ab", "abc", "A", "foo", "x y", "é", "", "abcde"])
    if ty == "bool": return c(["true", "false"])
    if ty == "date": return c(["2024-01-01", "2024-02-29", "2023-12-31", "2024-01-31", "1999-12-31", "2000-01-01", "1970-01-01", "2024-03-10", "2024-11-03",
                               "1900-03-01", "2024-%02d-%02d" % (rng.randint(1, 12), rng.randint(1, 28))])
    if ty == "time": return c(["00:00:00", "12:00:00", "23:59:59.999999", "01:02:03", "12:34:56.789", "%02d:%02d:00" % (rng.randint(0, 23), rng.randint(0, 59))])
    if ty == "timestamp": return raw(rng, "date") + " " + raw(rng, "time")
    if ty == "timestamptz": return raw(rng, "date") + " " + raw(rng, "time") + "+00"
    if ty == "interval": return c(["1 day", "2 days", "2 hours", "-3 days", "1 mon", "1 year 2 mons", "00:00:00", "1 day 02:03:04.5", "-1 mon +3 days", "00:15:00", "-01:30:00", "10 days"])
    if ty == "uuid": return c(UU)
    if ty in ("json", "jsonb"): return c(JSONB)
    if ty == "bytea": return c(["\\x", "\\x00", "\\x01", "\\xff", "\\xdeadbeef", "\\x6162", "\\x616263", "\\x00ff00"])
    if ty == "int4[]":
        if rng.random() < .15: return "{}"
        return "{" + ",".join(c(["1", "2", "3", "5", "NULL", str(rng.randint(-9, 20))]) for _ in range(rng.randint(1, 4))) + "}"
    if ty == "text[]":
        if rng.random() < .15: return "{}"
        return "{" + ",".join(c(['a', 'b', 'ab', 'NULL', '""', '"x y"', 'foo', '"a,b"', 'é']) for _ in range(rng.randint(1, 4))) + "}"
    if ty == "numeric[]":
        if rng.random() < .15: return "{}"
        return "{" + ",".join(c(["1.50", "2.00", "NULL", "-0.25", "%d.%02d" % (rng.randint(0, 50), rng.randint(0, 99))]) for _ in range(rng.randint(1, 3))) + "}"
    if ty == "mood": return c(["sad", "ok", "happy", "Great one"])
    raise KeyError(ty)

def quote(v): return "'" + v.replace("'", "''") + "'"
def sqlval(rng, ty, pnull):
    if rng.random() < pnull: return "NULL"
    v = raw(rng, ty)
    if ty in ("int2", "int4", "int8", "numeric") or ty == "bool": return v
    return quote(v)

class Table:
    def __init__(s, name, cols, keys): s.name = name; s.cols = cols; s.keys = keys; s.rows = 0

def world(seed):
    """setup statements (for PostgreSQL, for Auspex) and tables"""
    rng = random.Random(seed * 7 + 1)
    WORLD["nan"] = seed % 3 == 0; WORLD["negzero"] = False; WORLD["big"] = seed % 5 == 2
    pg = []; au = []
    both = lambda x: (pg.append(x), au.append(x))
    both("CREATE TYPE mood AS ENUM ('sad','ok','happy','Great one')")
    both("CREATE DOMAIN posint AS int CHECK (VALUE > 0)")
    both("CREATE DOMAIN shorttext AS text CHECK (length(VALUE) < 10)")
    counts = [0, 1, 5, 12, 20, 30, 60, 120] if seed % 4 else [0, 1, 7, 20, 40, 90, 150, 300]; rng.shuffle(counts)
    tables = []
    for i in range(8):
        k = rng.randint(9, 19)
        cols = rng.sample(COLS, k); names = [("id", "int4", "int"), ("pid", "int4", "int")] + cols
        if rng.random() < .3: names = names[2:5] + names[:2] + names[5:]
        pk = rng.random() < .5
        nn = {c[0] for c in cols if rng.random() < .2}
        decl = ", ".join('%s %s%s' % (n, d, " PRIMARY KEY" if n == "id" and pk else " NOT NULL" if n in nn or n == "id" else "") for n, _, d in names)
        part = ""
        if rng.random() < .2:
            cand = [c[0] for c in cols if c[1] in ("int2", "bool", "date")]
            if cand: part = " PARTITIONED BY (%s)" % cand[0]
        t = "t%d" % i
        pg.append("CREATE TABLE %s (%s)" % (t, decl)); au.append("CREATE TABLE %s (%s)%s" % (t, decl, part))
        n = counts[i]; ids = list(range(1, n + 1))
        if rng.random() < .5: rng.shuffle(ids)
        pnull = rng.choice([0, .1, .2, .4])
        rows = []
        for idn in ids:
            vals = []
            for cn, ct, cd in names:
                if cn == "id": vals.append(str(idn)); continue
                if cn == "pid": vals.append("NULL" if idn < 4 or rng.random() < .1 else str(rng.randint(1, idn - 1))); continue
                v = sqlval(rng, ct, 0 if cn in nn else pnull)
                if cd == "posint" and v != "NULL": v = str(abs(int(v)) % 1000 + 1)
                if cd == "shorttext" and v == "NULL" and cn in nn: v = "'x'"
                vals.append(v)
            rows.append("(" + ", ".join(vals) + ")")
        if rows:
            cuts = sorted(rng.sample(range(1, n), min(n - 1, rng.randint(0, 4)))) if n > 1 else []
            for lo, hi in zip([0] + cuts, cuts + [n]):
                both("INSERT INTO %s (%s) VALUES %s" % (t, ", ".join(x[0] for x in names), ", ".join(rows[lo:hi])))
        tab = Table(t, [(x[0], x[1]) for x in names], ["id"]); tab.rows = n
        tables.append(tab)
    return pg, au, tables

# ---------------------------------------------------------------- expressions
T = {}
def t(ty, *tpls):
    for x in tpls:
        parts = [y if y.startswith("{") and len(y) > 2 and y[1] != "1" else y.replace("‹", "{").replace("›", "}") for y in re.split(r"(\{[^{}]+\})", x)]
        T.setdefault(ty, []).append(parts)

t("int4", "({int4} {|+|-} {int4})", "({int4} * {#-3,3})", "({int4} / {#1,9})", "({int4} % {#1,7})", "(- {int4})", "abs({int4})", "length({text})", "char_length({varchar})",
  "octet_length({text})", "position({text:l} in {text})", "strpos({text}, {text})", "ascii({text})", "cardinality({int4[]})", "array_length({text[]}, 1)",
  "array_position({int4[]}, {int4})", "array_upper({int4[]}, 1)", "jsonb_array_length(CASE WHEN jsonb_typeof({jsonb=1}) = 'array' THEN {jsonb=1} END)", "({date} - {date})",
  "({int4} & {int4})", "({int4} | {int4})", "({int4} # {int4})", "(~ {int4})", "({int4} << {#0,4})", "({int4} >> {#0,4})", "({bool})::int", "width_bucket({numeric}, 0, 100, {#1,9})",
  "({int4[]})[{#1,3}]", "num_nulls({any}, {any})", "num_nonnulls({any}, {any}, {any})", "length({bytea})", "mod({int4}, {#1,5})", "({numeric})::int", "({int2} + {int4})",
  "greatest({int4}, {int4})", "least({int4}, {int4}, {int4})", "gcd({int4}, {int4})", "extract({|year|month|day|hour|dow|doy|quarter|week|isodow|minute} from {timestamp})::int",
  "bit_length({text})", "nullif({int4}, {int4:k})", "coalesce({int4}, {int4:k})", "array_ndims({text[]})", "(({jsonb}) ->> 'a' IS NULL)::int", "regexp_count({text}, {|'a'|'[a-z]'|'^.'})",
  "sign({int4})::int", "({int4}::text)::int", "date_part('{|year|month|day}', {date})::int", "(array_positions({int4[]}, {int4}))[1]", "array_lower({text[]}, 1)",
  "(({text}) ~ '^[0-9]+$')::int", "(CASE WHEN {text=1} ~ '^-?[0-9]{1}$' THEN {text=1}::int END)")
t("int8", "({int8} {|+|-} {int})", "({int4})::bigint", "({int2} * {int8})", "abs({int8})", "({int8} % {#1,11})", "({int8} / {#1,11})", "greatest({int8}, {int4})", "coalesce({int8}, {int4})", "({numeric})::int8",
  "(- {int8})", "({int8} & 255)", "nullif({int8}, {int8:k})", "(extract(epoch from {timestamp}))::bigint")
t("int2", "({int4} % 100)::int2", "({int2} / {#1,3}::int2)", "(- {int2})", "abs({int2})", "nullif({int2}, {int2})", "greatest({int2}, {int2})")
t("numeric", "({numeric} {|+|-} {numeric})", "({int4} * {numeric})", "({numeric} / nullif({numeric}, 0))", "round({numeric}, {#0,2})", "trunc({numeric}, {#0,1})", "ceil({numeric})", "floor({numeric})",
  "abs({numeric})", "sign({numeric})", "mod({numeric}, {#2,5})", "extract({|year|month|day|hour|dow|epoch|second|minute|quarter|week|millisecond|isodow|doy|century|decade} from {timestamp})::numeric(18,6)",
  "extract({|year|month|day|dow|epoch|doy|isoyear} from {date})::numeric(18,6)", "extract({|hour|minute|second|epoch} from {time})::numeric(18,6)", "extract({|day|hour|epoch|month|year|minute} from {interval})::numeric(18,6)", "({int4})::numeric", "({numeric[]})[{#1,2}]", "greatest({numeric}, {numeric})", "least({numeric}, {int4})",
  "coalesce({numeric}, {numeric:k})", "nullif({numeric}, {numeric:k})", "(- {numeric})", "({numeric})::numeric(12,3)", "({int8} + {numeric})", "round({numeric})", "({numeric} % {#2,9})", "({numeric} + {int4} * {#1,3})",
  "div({numeric}, {#1,5})", "extract({|year|hour|epoch|day} from {timestamptz})::numeric(18,6)", "coalesce({int4}, {numeric})")
t("float8", "({float8} {|+|-} {float8})", "({float8} * {float8} + 0)", "({float8} / nullif({float8}, 0) + 0)", "sqrt(abs({float8}))", "power({int4}::float8 / 100, {#1,3})", "exp(({int4} % 5)::float8)", "ln(abs({int4})::float8 + 1)", "(round({float8}) + 0)", "floor({float8})",
  "(ceil({float8}) + 0)", "(trunc({float8}) + 0)", "sin({int4}::float8)", "cos({int4}::float8)", "atan2({int4}::float8, 2)", "degrees({int4}::float8)", "date_part('{|year|month|day|hour|dow|epoch|second}', {timestamp})", "({int4})::float8", "({numeric})::float8",
  "abs({float8})", "(0 - {float8})", "({float8} + {int4})", "({numeric} * {float8} + 0)", "greatest({float8}, {float8})", "least({float8}, {int4})", "coalesce({float8}, {int4})", "nullif({float8}, {float8})", "({float4})::float8", "({float4} + {float8})", "sign({float8})",
  "cbrt({int4}::float8)", "({float8})::numeric(20,3)::float8" if False else "({int2} / 4.0::float8 + 0)", "extract(epoch from {interval})::float8", "radians({int4}::float8)", "(mod({int4}, 7) * {float8} + 0)")
t("float4", "({float8})::real", "({int2})::real", "({float4} + {float4})", "abs({float4})", "(0::real - {float4})", "coalesce({float4}, {float4})")
t("text", "lower({text})", "upper({text})", "initcap({text})", "trim({text})", "ltrim({text}, {text:l})", "rtrim({text}, {text:l})", "btrim({text}, 'a ')", "substr({text}, {#-1,3}, {#0,4})", "substring({text} from {#1,3} for {#0,3})", "substr({text}, {#1,4})", "left({text}, {#-2,3})", "right({text}, {#-2,3})",
  "repeat({text}, {#0,3})", "reverse({text})", "replace({text}, {text:l}, {text:l})", "translate({text}, 'abc', 'xy')", "lpad({text}, {#0,6}, {text:l})", "rpad({text}, {#0,6}, '*')", "lpad({text}, {#0,6})", "concat({text}, {int4}, {text})", "concat_ws('{|,|-|}', {text}, {varchar}, {int4})", "({text} || {text})", "({text} || {int4})", "({varchar} || {text:k})",
  "split_part({text}, {|'b'|','|'-'|' '}, {#1,3})", "split_part({text}, '-', -1)", "md5({text})", "to_char({timestamp}, {|'YYYY-MM-DD HH24:MI:SS'|'Mon DD, YYYY'|'IYYY-IW'|'Day'|'HH12 AM'|'Q'|'DDD J'|'FMMonth FMDD'|'MS US'})", "to_char({int4}, {|'999'|'FM9999'|'S0000'|'9,999'|'99V9'|'RN'|'000MI'})", "to_char({numeric}, {|'FM999990.00'|'9999.99'|'S9999.9'|'0.0'|'L99.9'|'9.99EEEE'|'99PR'})", "format('%s-%s', {text}, {int4})", "format('%I %L', {text:l}, {text})", "format('%5s|%-5s|%%', {text}, {text})",
  "regexp_replace({text}, {|'[aeiou]'|'a+'|'.'|'(.)(.)'|'\\s'|'^a'}, {|'X'|''|'[\\1]'|'\\&\\&'}{|, 'g'|, 'i'|, 'gi'|})", "overlay({text} placing {text:l} from {#1,3})", "overlay({text} placing 'ZZ' from {#1,2} for {#0,2})", "quote_literal({text})", "quote_nullable({text})", "chr(65 + abs({int4} % 26))", "to_hex({int4})", "encode({bytea}, {|'hex'|'base64'})", "({int4})::text", "({bool})::text", "({date})::text", "({timestamp})::text", "({timestamptz})::text",
  "({interval})::text", "({uuid})::text", "({jsonb:c})::text", "({jsonb} ->> {|'a'|'b'|0|1})", "({jsonb} #>> {|'‹a›'|'‹a,b›'|'‹0›'})", "jsonb_typeof({jsonb})", "array_to_string({text[]}, ',')", "array_to_string({int4[]}, '-', '*')", "({mood})::text", "({text[]})[{#1,3}]", "({bytea})::text", "substring({text} from {|'[a-z]+'|'(.)b'|'^.'|'[0-9]+'})", "(regexp_match({text}, {|'(.)(.)'|'[a-z]'}))[1]",
  "greatest({text}, {text})", "least({text}, {varchar})", "coalesce({text}, {text:k})", "nullif({text}, {text:k})", "({varchar})::text", "({bpchar})::text", "({time})::text", "({int8})::text", "({int4[]})::text", "({text[]})::text", "({varchar})::varchar(2)::text", "coalesce({varchar}, {text})", "regexp_substr({text}, {|'[a-z]+'|'.$'})", "({json} ->> 'a')", "pg_typeof({int4})::text", "json_typeof({json})", "(({jsonb}) -> 'a' ->> 'b')", "left(md5({text}), {#1,8})", "string_agg_dummy" if False else "btrim({text})", "(string_to_array({text}, {|','|'-'|NULL}))[{#1,2}]", "unaccent_dummy" if False else "lower({varchar})", "ltrim({text})", "jsonb_extract_path_text({jsonb}, 'a')", "array_to_string(regexp_split_to_array({text}, {|'b'|'[, -]'}), '/')", "encode(sha256({bytea}), 'hex')", "({float8:c})::text", "to_char({date}, {|'YYYY Q'|'DD/MM/YY'|'Dy'|'WW'|'CC'})", "to_char({interval}, {|'HH24:MI:SS'|'DD HH12'})", "convert_from({bytea:t}, 'UTF8')", "substring({text} similar '%#\"[a-z]#\"%' escape '#')", "coalesce({varchar}, {varchar:k})::text", "date_part('year', {date})::int::text")
t("varchar", "({text})::varchar(20)", "({varchar})::varchar(3)", "coalesce({varchar}, {varchar})", "nullif({varchar}, {varchar:k})", "(CASE WHEN {bool} THEN {varchar} END)")
t("bpchar", "(left(md5({text}), 2))::char(5)", "coalesce({bpchar}, {bpchar})")
t("bool", "({S=1} {|=|<>|<|<=|>|>=} {S=1})", "({S=1} {|=|<>|<|<=|>|>=} {S=1:k})", "({S=1} {|=|<|>} {S=1:k})", "({int4} {|=|<>|<|>=} {int})", "({numeric} {|=|<|>} {int4})", "({int4} {|=|<|>} {float8})", "({float8} {|=|<|>=} {numeric})", "({date} {|=|<|>=} {timestamp})", "({timestamp} {|<|>=} {timestamptz})", "({S=1} {|BETWEEN|NOT BETWEEN|BETWEEN SYMMETRIC} {S=1} AND {S=1:k})", "({S=1} {|IN|NOT IN} ({S=1:k}, {S=1:k}, {S=1}))", "({S=1} {|IN|NOT IN} ({S=1:k}, {S=1:k}))",
  "({any} IS {|NULL|NOT NULL})", "({S=1} IS {|DISTINCT FROM|NOT DISTINCT FROM} {S=1})", "({S=1} IS {|DISTINCT FROM|NOT DISTINCT FROM} {S=1:k})", "({text} {|LIKE|NOT LIKE|ILIKE|NOT ILIKE} {|'a%'|'%a%'|'_'|'%b'|'A_%'|'%\\%%'|''|'%'|'__'})", "({text} LIKE {text} {|ESCAPE '!'|})", "({text} {|~|!~|~*|!~*} {|'a'|'^a'|'b$'|'[a-c]+'|'^.$'|'(a\\|b)c?'|'\\d'|'^\\w+$'|'x y'|'[[:upper:]]'|'^$'})", "({text} SIMILAR TO {|'(a\\|b)%'|'_b%'|'[a-z]+'|'%'})",
  "({bool} AND {bool})", "({bool} OR {bool})", "(NOT {bool})", "({bool} IS {|TRUE|FALSE|NOT TRUE|NOT FALSE|UNKNOWN|NOT UNKNOWN})", "({int4[]} {|@>|<@|&&} {int4[]})", "({text[]} {|@>|<@} {text[]:k})", "({int4} = ANY ({int4[]:c}))", "({text} {|=|<>} {|ANY|ALL} ({text[]:c}))", "({int4} {|<|>|<>|>=} {|ANY|ALL} ({int4[]:c}))", "({int4} = ANY (({int4[]})::int[]))", "({text} {|=|<>} {|ANY|ALL} (coalesce({text[]}, '‹x›')))", "({text} = ANY ('‹a,ab,NULL›'))", "({int4} {|= ANY|<> ALL|> ALL} ('‹1,2,3›'))", "({text} LIKE ANY (ARRAY['a%', {text}]))", "({jsonb} @> {jsonb:k})", "({jsonb} <@ {jsonb})", "({jsonb} ? {|'a'|'b'|'foo'})", "({jsonb} {|?\\||?&} ARRAY['a', {text:l}])", "starts_with({text}, {text})", "(({timestamp}, {timestamp}) OVERLAPS ({timestamp}, {interval}))", "(({S=1}, {S=2}) {|=|<>|<|<=|>|>=} ({S=1}, {S=2}))", "(({S=1}, {S=2}) IN (({S=1}, {S=2}), ({S=1:k}, {S=2:k})))", "(({S=1}, {S=2}) IS {|DISTINCT FROM|NOT DISTINCT FROM} ({S=1}, {S=2}))", "(ROW({any}, {any}) IS {|NULL|NOT NULL})",
  "isfinite({timestamp})", "({int4})::bool", "coalesce({bool}, {bool:k})", "({bool} = {bool})", "({bool} <> {bool})", "({mood} {|<|>|=|>=} {|'ok'|'happy'})", "({jsonb} = {jsonb})", "({jsonb} -> 'a' = {|'1'|'null'|'\"x\"'})", "(({jsonb}) ->> 'a' = {text:k})", "({bpchar} = {bpchar:k})", "({bpchar} = {text})", "({varchar} {|=|<>|<} {text})", "({interval} {|<|=|>} {interval})", "({time} {|<|>=} {time:k})", "nullif({bool}, {bool})", "({int2} {|=|<} {int8})", "jsonb_path_exists({jsonb}, {|'$.a'|'$[*] ? (@ > 1)'|'$.a.b'})", "({jsonb} @? '$.a')", "({text[]} = {text[]})", "({numeric} {|IN|NOT IN} ({numeric}, {int4}, NULL))", "regexp_like({text}, {|'a'|'^[A-Z]'})", "({numeric} BETWEEN {int4} AND {numeric})", "({float4} {|=|<} {float8})", "({bytea} {|<|=|>=} {bytea})", "({date} {|BETWEEN|NOT BETWEEN} {date:k} AND {date:k})", "bool_dummy" if False else "({int4[]} {|<|>=|=} {int4[]})", "({numeric} {|<|=|>=} {|1.5|2.25|0.01|10})", "({int4} IN (1, 2, 3, NULL))", "({float8} {|<|>|=} {|1.5|0|100})")
t("date", "({date} {|+|-} {#0,40})", "({date} + {int4})", "({timestamp})::date", "({date} + {interval})::date", "make_date({#2000,2030}, {#1,12}, {#1,28})", "to_date({|'2024-05-06', 'YYYY-MM-DD'|'06 May 2024', 'DD Mon YYYY'|'20240131', 'YYYYMMDD'})", "greatest({date}, {date})", "least({date}, {date:k})", "date_trunc({|'month'|'year'|'week'|'quarter'}, {timestamp})::date", "coalesce({date}, {date:k})", "nullif({date}, {date:k})", "({timestamptz})::date")
t("timestamp", "({date})::timestamp", "({timestamp} {|+|-} {interval})", "date_trunc({|'month'|'year'|'week'|'day'|'hour'|'minute'|'quarter'|'second'|'decade'|'century'}, {timestamp})", "({date} + {time})", "({timestamptz} AT TIME ZONE {|'UTC'|'America/New_York'|'Asia/Tokyo'|'+02:00'})", "({date} {|+|-} {interval})", "make_timestamp({#2000,2030}, {#1,12}, {#1,28}, {#0,23}, {#0,59}, {#0,59})", "date_bin({|'15 minutes'|'1 day'|'2 hours'}, {timestamp}, TIMESTAMP '2001-01-01')", "greatest({timestamp}, {timestamp})", "coalesce({timestamp}, {date})", "nullif({timestamp}, {timestamp:k})", "({timestamptz})::timestamp", "({timestamp})::timestamp(0)", "coalesce({timestamp}, {timestamp:k})")
t("timestamptz", "({timestamp})::timestamptz", "({timestamptz} {|+|-} {interval})", "({timestamp} AT TIME ZONE {|'UTC'|'America/New_York'|'Asia/Tokyo'})", "date_trunc({|'month'|'year'|'day'|'hour'|'week'}, {timestamptz})", "date_trunc('day', {timestamptz}, 'Europe/Paris')", "to_timestamp(({int2})::float8 * 1000)", "coalesce({timestamptz}, {timestamptz:k})", "greatest({timestamptz}, {timestamptz})", "({date})::timestamptz", "coalesce({timestamptz}, {timestamp})", "least({timestamptz}, {date})")
t("time", "({timestamp})::time", "({time} {|+|-} {interval})", "make_time({#0,23}, {#0,59}, {#0,59})", "coalesce({time}, {time})", "greatest({time}, {time})", "date_trunc('hour', {timestamp})::time")
t("interval", "({timestamp} - {timestamp})", "age({timestamp}, {timestamp})", "make_interval(days => {#-3,40})", "make_interval(hours => {int4} % 100)", "({interval} {|+|-} {interval})", "({interval} * {#-2,4})", "({interval} / {#1,4})", "(- {interval})", "justify_hours({interval})", "justify_days({interval})", "justify_interval({interval})", "({time} - {time})", "(({#1,40})::text || {|' days'|' hours'|' minutes'})::interval", "coalesce({interval}, {interval:k})", "greatest({interval}, {interval})", "({timestamptz} - {timestamptz})", "date_trunc('hour', {interval})", "({timestamp} - {date})", "({int4} % 10) * interval '1 hour'", "age({date}, {date})")
t("uuid", "coalesce({uuid}, {uuid:k})", "nullif({uuid}, {uuid:k})", "({uuid}::text)::uuid", "(md5({text}))::uuid", "(CASE WHEN {bool} THEN {uuid} ELSE {uuid:k} END)")
t("jsonb", "({jsonb} -> {|'a'|'b'|0|-1})", "({jsonb} #> {|'‹a,b›'|'‹0›'|'‹›'})", "({jsonb} || {jsonb:o})", "({jsonb:o} - 'a')", "to_jsonb({JT})", "jsonb_build_object('a', {JT}, {text:l}, {JT})", "jsonb_build_array({JT}, {JT})", "jsonb_set({jsonb:o}, '{a}', {jsonb:l})", "jsonb_strip_nulls({jsonb})", "jsonb_path_query_first({jsonb}, {|'$.a'|'$[0]'|'$.*'|'$.a.b[1]'})", "coalesce({jsonb}, {jsonb:k})", "nullif({jsonb}, {jsonb:k})", "({json})::jsonb", "jsonb_path_query_array({jsonb}, '$[*]')", "jsonb_insert({jsonb:o}, '{zz}', {jsonb:l})", "({jsonb:o} #- '{a}')", "jsonb_object({text[]}, {text[]})" if False else "to_jsonb({int4[]})", "jsonb_extract_path({jsonb}, 'a')", "jsonb_build_object('k', {jsonb})", "({jsonb:o} - ARRAY['a','k'])", "({jsonb})['a']")
t("json", "to_json({JT})", "json_build_object('a', {JT}, 'b', {JT})", "json_build_array({JT}, {JT})", "({json} -> {|'a'|0})", "({jsonb})::json", "coalesce({json}, {json})", "(CASE WHEN {bool} THEN {json} ELSE {json} END)", "array_to_json({int4[]})", "json_build_object('k', {json}, 't', {text[]})")
t("bytea", "({bytea} || {bytea})", "substring({bytea} from {#1,2} for {#0,2})", "sha256({bytea})", "convert_to({text}, 'UTF8')", "decode({|'00ff','hex'|'YWJj','base64'})", "coalesce({bytea}, {bytea:k})", "overlay({bytea} placing '\\xaa' from 1)", "decode(md5({text}), 'hex')", "substr({bytea}, {#1,3})")
t("int4[]", "ARRAY[{int4}, {int4}]", "ARRAY[{int4}, {int4:k}, {int2}]", "array_append({int4[]}, {int4})", "array_prepend({int4}, {int4[]})", "({int4[]} || {int4[]})", "({int4[]} || {int4})", "array_remove({int4[]}, {int4})", "array_replace({int4[]}, {int4}, {int4})", "({int4[]})[{#1,2}:{#2,4}]", "coalesce({int4[]}, {int4[]:k})", "array_cat({int4[]}, {int4[]:k})", "array_positions({int4[]}, {int4})", "trim_array({int4[]} || 1, 1)", "array_fill({int4}, ARRAY[{#0,3}])", "nullif({int4[]}, {int4[]})", "(CASE WHEN {bool} THEN {int4[]} ELSE '{}' END)", "string_to_array({|'1,2,3'|'4'|''}, ',')::int[]", "({int4[]})[{#2,3}:]", "({int4[]})[:2]")
t("text[]", "ARRAY[{text}, {text}]", "array_append({text[]}, {text})", "({text[]} || {text[]})", "({text[]} || {text})", "({text} || {text[]})", "array_remove({text[]}, {text})", "string_to_array({text}, {|','|'-'|''|NULL})", "string_to_array({text}, ',', 'a')", "regexp_split_to_array({text}, {|'b'|'\\s+'|''|','})", "regexp_match({text}, {|'(a)(b)?'|'[a-z]'})", "coalesce({text[]}, {text[]:k})", "({text[]})[1:{#1,2}]", "array_replace({text[]}, {text}, {text:k})", "array_prepend({text}, {text[]})", "ARRAY[{text}, NULL, {varchar}]", "({int4[]})::text[]", "enum_range(NULL::mood)::text[]")
t("numeric[]", "ARRAY[{numeric:c}, {numeric:c}]", "array_append({numeric[]}, {numeric:c})", "({numeric[]} || {numeric[]})", "array_remove({numeric[]}, {numeric:c})", "coalesce({numeric[]}, {numeric[]:k})", "({int4[]})::numeric[]")
t("mood", "coalesce({mood}, {mood:k})", "nullif({mood}, {mood:k})", "greatest({mood}, {mood})", "(({mood})::text)::mood", "(enum_range({mood:c}, NULL))[1]", "least({mood}, 'ok')", "enum_first({mood:c})")
JT = ["int4", "text", "bool", "numeric", "float8", "date", "timestamp", "uuid", "jsonb", "text[]", "int4[]", "varchar", "timestamptz", "int8", "mood", "interval", "time"]

SIMPLE = {ty: "NULL::" + DECL[ty] for ty in TYPES}

class Scope:
    def __init__(s): s.cols = []; s.keys = []; s.rows = []; s.est = 1; s.uniq = False
    # cols: (ref, type); keys: refs of a unique order, or None; rows: aliases that have a whole row

class Ctx:
    """where an expression stands"""
    __slots__ = ("scopes", "agg", "win", "sub", "leaf", "leafonly")
    def __init__(s, scopes, agg=None, win=None, sub=True, leaf=None, leafonly=False):
        s.scopes = scopes; s.agg = agg; s.win = win; s.sub = sub; s.leaf = leaf; s.leafonly = leafonly
    def but(s, **k):
        c = Ctx(s.scopes, s.agg, s.win, s.sub, s.leaf, s.leafonly)
        for a, b in k.items(): setattr(c, a, b)
        return c

class Gen:
    def __init__(s, rng, tables, params=False):
        s.r = rng; s.tables = tables; s.params = params; s.n = 0; s.budget = 45; s.ctes = []; s.qdepth = 0; s.total = False; s.noall = False
    def fresh(s, p): s.n += 1; return "%s%d" % (p, s.n)
    def p(s, x): return s.r.random() < x

    # ---- leaves
    def lit(s, ty, known=False):
        r = s.r
        if known and s.p(.1): return E(ty, "NULL")
        if s.p(.06): return E(ty, "NULL::" + DECL[ty])
        v = raw(r, ty)
        if s.params and s.p(.45) and ty != "bpchar":
            declared = s.p(.5) and ty in OIDS
            cast = DECL[ty] if (not declared and (not known or s.p(.3))) or s.p(.2) else None
            if ty == "numeric" and cast: cast = "numeric"
            return E(ty, Param(ty, v, declared, declared and s.p(.5), cast))
        if ty in ("int4",): return E(ty, v if not v.startswith("-") else "(" + v + ")")
        if ty == "bool": return E(ty, v)
        if ty == "int8" and abs(int(v)) > 2**31: return E(ty, v if v[0] != "-" else "(" + v + ")")
        if known and s.p(.75): return E(ty, quote(v) if not (ty in ("int2", "int8", "numeric") and s.p(.5)) else "(" + v + ")" if v[0] == "-" else v)
        if ty in ("date", "timestamp", "interval", "time", "timestamptz") and s.p(.4): return E(ty, DECL[ty].upper() + " " + quote(v))
        return E(ty, quote(v) + "::" + DECL[ty])

    def col(s, ty, ctx):
        if ctx.leafonly: return None
        cand = []
        for i, sc in enumerate(reversed(ctx.scopes)):
            cs = [c for c in sc.cols if c[1] == ty]
            if cs and (i == 0 or s.p(.25) or not cand): cand = cand + cs if i else cs
        if cand: return E(ty, s.r.choice(cand)[0])
        return None

    def expr(s, ty, ctx, depth=2, known=False):
        r = s.r
        if ctx.leaf:
            ks = [k for k in ctx.leaf if k.ty == ty]
            if ks and s.p(.6): return r.choice(ks)
        s.budget -= 1
        if depth <= 0 or s.budget < 0:
            if known and s.p(.5): return s.lit(ty, True)
            if ctx.agg and s.p(.7):
                a = s.aggregate(ty, ctx)
                if a: return a
            c = s.col(ty, ctx) if s.p(.93) else None
            return c or s.lit(ty)
        x = r.random()
        if x < .25:
            c = s.col(ty, ctx)
            if c: return c
        if known and x < .6: return s.lit(ty, True)
        if ctx.agg and x < .75:
            a = s.aggregate(ty, ctx)
            if a: return a
        if ctx.win and x < .75:
            a = s.window(ty, ctx)
            if a: return a
        y = r.random()
        if y < .07: return s.case(ty, ctx, depth)
        if y < .16 and ctx.sub and s.qdepth < 2 and s.budget > 10:
            q = s.subexpr(ty, ctx)
            if q: return q
        if y < .19:
            return E(ty, "coalesce(", L([s.expr(ty, ctx, depth - 1) for _ in range(r.randint(2, 3))]), ")")
        return s.template(ty, ctx, depth)

    def template(s, ty, ctx, depth):
        tp = s.r.choice(T[ty]); env = {}; out = []; same = {}
        for part in tp:
            if not (part.startswith("{") and len(part) > 2) or part == "{1}": out.append(part); continue
            b = part[1:-1]
            if b.startswith("#"):
                lo, hi = map(int, b[1:].split(",")); v = s.r.randint(lo, hi); out.append(str(v) if v >= 0 else "(%d)" % v); continue
            if b.startswith("|"):
                alts = b[1:].replace("\\|", "\0").split("|"); out.append(s.r.choice(alts).replace("\0", "|").replace("‹", "{").replace("›", "}")); continue
            if "a" == b or not re.match(r"^[A-Za-z]", b): out.append(part); continue
            mods = b.split(":"); name = mods[0]; mod = mods[1] if len(mods) > 1 else ""
            shared = None
            if "=" in name: name, shared = name.split("=")
            if name == "S":
                env.setdefault(shared, s.r.choice([x for x in COMMON if x not in UNSORT])); tt = env[shared]; 
                out.append(s.slot(tt, mod, ctx, depth)); continue
            if name == "any": tt = s.r.choice(COMMON)
            elif name == "JT": tt = s.r.choice(JT)
            elif name == "int": tt = s.r.choice(["int2", "int4", "int8"])
            elif name in DECL: tt = name
            else: out.append(part); continue
            if shared:
                if shared not in same: same[shared] = s.slot(tt, mod, ctx, depth)
                out.append(same[shared]); continue
            out.append(s.slot(tt, mod, ctx, depth))
        return E(ty, *out)

    def slot(s, tt, mod, ctx, depth):
        if mod == "l": return E(tt, quote(raw(s.r, tt)))
        if mod == "c": return s.col(tt, ctx) or E(tt, quote(raw(s.r, tt)) + "::" + DECL[tt])
        if mod == "o": return E(tt, s.r.choice(['\'{"a": 1, "z": null}\'::jsonb', '\'{}\'::jsonb', '\'{"k": [1]}\'::jsonb']))
        if mod == "t": return E(tt, "'\\x6162'::bytea")
        return s.expr(tt, ctx, depth - 1, mod == "k")

    def case(s, ty, ctx, depth):
        if s.p(.3):
            t2 = s.r.choice(["int4", "text", "mood", "date", "bool", "numeric"])
            whens = [X("WHEN ", s.expr(t2, ctx, 0, True), " THEN ", s.expr(ty, ctx, depth - 1, i > 0)) for i in range(s.r.randint(1, 3))]
            return E(ty, "CASE ", s.expr(t2, ctx, depth - 1), " ", L(whens, " "), OPT(" ELSE ", s.expr(ty, ctx, depth - 1, True)) if s.p(.7) else "", " END")
        whens = [X("WHEN ", s.expr("bool", ctx, depth - 1), " THEN ", s.expr(ty, ctx, depth - 1, i > 0)) for i in range(s.r.randint(1, 3))]
        return E(ty, "CASE ", L(whens, " "), OPT(" ELSE ", s.expr(ty, ctx, depth - 1, True)) if s.p(.7) else "", " END")

    # ---- subqueries in expressions
    def subexpr(s, ty, ctx):
        r = s.r; outer = ctx.scopes if not ctx.leafonly else []
        s.qdepth += 1
        try:
            if ty == "bool" and s.p(.75):
                k = r.random()
                if k < .35:
                    q, _ = s.select(outer, None, small=True, noorder=True)
                    return E("bool", r.choice(["", "NOT "]) + "EXISTS (", q, ")")
                t2 = r.choice(["int4", "text", "numeric", "date", "int8", "varchar", "float8", "uuid", "mood", "bool", "timestamp", "int2"])
                q, _ = s.select(outer, [t2], small=True, noorder=True)
                lhs = s.expr(t2, ctx, 1)
                if k < .7: return E("bool", "(", lhs, r.choice([" IN (", " NOT IN ("]), q, "))")
                if k < .9: return E("bool", "(", lhs, " ", r.choice(["=", "<>", "<", ">", "<=", ">="]), " ", r.choice(["ANY", "ALL", "SOME"]), " (", q, "))")
                if k < .93:
                    return E("bool", "(", lhs, r.choice([" IN (", " NOT IN (", " = ANY (", " <> ALL ("]), "VALUES ", L([X("(", s.expr(t2, Ctx(outer or ctx.scopes, sub=False) if not ctx.leafonly else Ctx([], sub=False), 1), ")") for _ in range(r.randint(1, 3))]), "))")
                t3 = r.choice(["int4", "text", "date"])
                if k < .95 and s.p(.6):
                    q, _ = s.select(outer, [t2, t3], small=True, total=True, limit1=True)
                    return E("bool", "((", lhs, ", ", s.expr(t3, ctx, 1), ") " + r.choice(["=", "<", ">=", "<>"]) + " (", q, "))")
                if k < .97:
                    q, c = s.setop(outer, [t2], True)
                    return E("bool", "(", lhs, r.choice([" IN (", " NOT IN ("]), q, "))")
                q, _ = s.select(outer, [t2, t3], small=True, noorder=True)
                return E("bool", "((", lhs, ", ", s.expr(t3, ctx, 1), r.choice([") IN (", ") NOT IN ("]), q, "))")
            if ty.endswith("[]") and s.p(.6):
                b = ty[:-2]
                q, _ = s.select(outer, [b], small=True, total=True, plainonly=s.p(.4))
                return E(ty, "ARRAY(", q, ")")
            q = s.scalarq(ty, outer)
            return E(ty, "(", q, ")")
        finally: s.qdepth -= 1

    def scalarq(s, ty, outer):
        """a query of one value"""
        if s.p(.5):
            q, _ = s.select(outer, [ty], small=True, aggonly=True); return q
        q, _ = s.select(outer, [ty], small=True, total=True, limit1=True); return q

    # ---- aggregates
    def aggregate(s, ty, ctx):
        r = s.r; base = ctx.agg
        ic = Ctx([base] if s.p(.85) or len(ctx.scopes) < 2 else ctx.scopes, sub=False)
        if not base.cols: ic = Ctx([base], sub=False)
        def a(t2, d=1):
            if s.p(.7):
                c = s.col(t2, Ctx([base]))
                if c: return c
            return s.expr(t2, Ctx([base], sub=s.qdepth < 2 and s.p(.15)), d)
        subok = s.qdepth < 2 and s.p(.12)
        flt = lambda: OPT(" FILTER (WHERE ", s.expr("bool", Ctx([base], sub=subok), 1), ")") if s.p(.2) else ""
        dis = lambda: OPT("DISTINCT ") if s.p(.2) else ""
        o = []
        if ty == "int8":
            o = [lambda: E(ty, "count(*)", flt()), lambda: E(ty, "count(", dis(), a(r.choice([t for t in COMMON if t != "json"])), ")", flt()), lambda: E(ty, "sum(", dis(), a(r.choice(["int4", "int2"])), ")", flt()), lambda: E(ty, r.choice(["min", "max"]) + "(", a("int8"), ")", flt()),
                 lambda: E(ty, "count(", a("json"), ")", flt()), lambda: E(ty, "regr_count(", a("float8"), ", ", a("float8"), ")"), lambda: E(ty, "bit_and(", a("int8"), ")"), lambda: E(ty, "rank(", s.lit("int4"), ") WITHIN GROUP (ORDER BY ", a("int4"), ")", flt())]
            if base.rows: o.append(lambda: E(ty, "count(", r.choice(base.rows), ")"))
        elif ty == "int4": o = [lambda: E(ty, r.choice(["min", "max", "bit_or", "bit_and", "bit_xor"]) + "(", dis(), a("int4"), ")", flt()), lambda: E(ty, "percentile_disc(", r.choice(["0", "0.25", "0.5", "0.9", "1"]), ") WITHIN GROUP (ORDER BY ", a("int4"), r.choice(["", " DESC"]), ")", flt()), lambda: E(ty, "mode() WITHIN GROUP (ORDER BY ", a("int4"), ")", flt())]
        elif ty == "int2": o = [lambda: E(ty, r.choice(["min", "max", "bit_or"]) + "(", a("int2"), ")", flt())]
        elif ty == "numeric": o = [lambda: E(ty, r.choice(["sum", "avg", "min", "max"]) + "(", dis(), a("numeric"), ")", flt()), lambda: E(ty, "sum(", a("numeric"), " ORDER BY ", a("int4"), ")"), lambda: E(ty, "avg(", dis(), a(r.choice(["int4", "int2", "int8"])), ")", flt()), lambda: E(ty, "sum(", a("int8"), ")", flt()), lambda: E(ty, r.choice(["stddev", "variance", "var_pop", "stddev_pop"]) + "(", a(r.choice(["int4", "numeric"])), ")", flt()), lambda: E(ty, "percentile_disc(", r.choice(["0.25", "0.5"]), ") WITHIN GROUP (ORDER BY ", a("numeric"), ")")]
        elif ty == "float8": o = [lambda: E(ty, r.choice(["sum", "avg", "min", "max"]) + "(", dis(), a("float8"), ")", flt()), lambda: E(ty, r.choice(["stddev", "var_pop", "var_samp"]) + "(", a("float8"), ")", flt()), lambda: E(ty, r.choice(["corr", "covar_pop", "covar_samp", "regr_slope", "regr_intercept", "regr_avgx", "regr_r2", "regr_sxy"]) + "(", a("float8"), ", ", a("float8"), ")", flt()), lambda: E(ty, "percentile_cont(", r.choice(["0", "0.25", "0.5", "0.9", "1"]), ") WITHIN GROUP (ORDER BY ", a(r.choice(["float8", "int4", "numeric"])), r.choice(["", " DESC"]), ")", flt()), lambda: E(ty, r.choice(["percent_rank", "cume_dist"]) + "(", s.lit("int4"), ") WITHIN GROUP (ORDER BY ", a("int4"), ")")]
        elif ty == "float4": o = [lambda: E(ty, r.choice(["min", "max"]) + "(", a("float4"), ")", flt())]
        elif ty == "text":
            def sagg():
                x = a("text"); return E(ty, "string_agg(", x, ", ", r.choice(["','", "''", "'; '"]), " ORDER BY ", x, r.choice(["", " DESC", " NULLS FIRST"]), ")", flt())
            def sagg2():
                x = a("text"); return E(ty, "string_agg(DISTINCT ", x, ", ','", " ORDER BY ", x, r.choice(["", " DESC"]), ")" if False else "", *([")"] if True else []), flt())
            def sagg3():
                x = a("text"); return E(ty, "string_agg(", a(r.choice(["int4", "date", "mood", "bool"])), "::text, '-' ORDER BY ", L(base.keys), ")", flt())
            o = [lambda: E(ty, r.choice(["min", "max"]) + "(", a(r.choice(["text"])), ")", flt()), sagg, lambda: E(ty, "mode() WITHIN GROUP (ORDER BY ", a("text"), ")", flt()), lambda: E(ty, "percentile_disc(0.5) WITHIN GROUP (ORDER BY ", a("text"), ")", flt())]
            if base.keys: o.append(sagg3)
        elif ty == "bool": o = [lambda: E(ty, r.choice(["bool_and", "bool_or", "every"]) + "(", a("bool"), ")", flt())]
        elif ty == "mood": o = [lambda: E(ty, r.choice(["min", "max"]) + "(", a(ty), ")", flt())]
        elif ty in ("date", "timestamp", "timestamptz", "time"): o = [lambda: E(ty, r.choice(["min", "max"]) + "(", a(ty), ")", flt()), lambda: E(ty, "percentile_disc(0.5) WITHIN GROUP (ORDER BY ", a(ty), ")", flt())]
        elif ty == "interval": o = [lambda: E(ty, r.choice(["min", "max", "sum", "avg"]) + "(", a(ty), ")", flt())]
        elif ty in ("int4[]", "text[]", "numeric[]"):
            b = ty[:-2]
            def agg1():
                x = a(b); return E(ty, "array_agg(", dis(), x, " ORDER BY ", x, r.choice(["", " DESC", " DESC NULLS LAST"]), ")", flt())
            def agg2(): return E(ty, "array_agg(", a(b), " ORDER BY ", ", ".join(base.keys), ")", flt())
            o = [agg1]
            if base.keys: o.append(agg2)
        elif ty in ("jsonb", "json"):
            if base.keys:
                o = [lambda: E(ty, ty + "_agg(DISTINCT ", a(r.choice(["int4", "text", "bool", "date"])), ")", flt()) if ty == "jsonb" else E(ty, "json_agg(", a("int4"), " ORDER BY ", ", ".join(base.keys), ")"), lambda: E(ty, ty + "_agg(", a(r.choice(JT)), " ORDER BY ", ", ".join(base.keys), ")", flt()), lambda: E(ty, ty + "_object_agg(coalesce(", a("text"), ", 'n'), ", a(r.choice(JT)), " ORDER BY ", ", ".join(base.keys), ")", flt()) if ty == "jsonb" else E(ty, "json_agg(", a("text"), " ORDER BY ", ", ".join(base.keys), ")")]
                if base.rows and ty == "jsonb" and s.p(.0): o.append(lambda: E(ty, "jsonb_agg(", r.choice(base.rows), " ORDER BY ", ", ".join(base.keys), ")"))
        return r.choice(o)() if o else None

    # ---- windows
    def sortkey(s, x): return X(x, s.r.choice(["", "", " ASC", " DESC", " DESC NULLS LAST", " NULLS FIRST", " DESC NULLS FIRST"]))
    def over(s, ctx, total, frame=True):
        r = s.r; sc = ctx.win
        part = ""
        if s.p(.6):
            part = OPT("PARTITION BY ", L([s.winexpr(r.choice(["text", "bool", "int4", "mood", "date", "varchar", "int2", "numeric"]), ctx) for _ in range(r.choice([1, 1, 2]))]))
        order = ""; fr = ""
        if total and not (sc.keys and sc.uniq): return None
        form = r.random()
        if total or form < .8:
            ks = []
            if form < .55 or not total:
                ks = [s.sortkey(s.winexpr(r.choice(["int4", "text", "numeric", "date", "float8", "timestamp", "int8", "varchar", "bool", "mood", "interval", "bpchar", "int2", "bytea", "time", "bytea", "time"]), ctx)) for _ in range(r.choice([1, 1, 2]))]
            if total: ks = ks + [FIX(s.sortkey(k)) for k in sc.keys]
            order = X("ORDER BY ", L(ks))
        if frame and order and s.p(.6):
            unit = r.choice(["ROWS", "ROWS", "GROUPS", "RANGE"]) if total else r.choice(["GROUPS", "RANGE"])
            exc = r.choice(["", "", "", " EXCLUDE NO OTHERS"])
            pts = ["UNBOUNDED PRECEDING", "P", "CURRENT ROW", "F", "UNBOUNDED FOLLOWING"]
            i = r.randint(0, 3); j = r.randint(max(i + (i in (1, 3)), 1), 4)
            if unit == "RANGE" and (len(ks) != 1 or total):
                i = r.choice([0, 2]); j = r.choice([2, 4])
            off = lambda: str(r.randint(0, 3))
            if unit == "RANGE" and ("P" in (pts[i], pts[j]) or "F" in (pts[i], pts[j])):
                tt = r.choice(["int4", "numeric", "date", "timestamp", "float8", "int8", "timestamptz", "interval" if False else "int2"])
                c = s.col(tt, Ctx([sc])) if not ctx.leafonly else None
                if not c: i, j = 0, 2
                else:
                    order = X("ORDER BY ", X(c, r.choice(["", " DESC", " NULLS FIRST"])))
                    off = (lambda: r.choice(["interval '1 day'", "interval '1 month'", "interval '3 hours'", "'10 days'"])) if tt in ("date", "timestamp", "timestamptz") else (lambda: str(r.randint(0, 20)))
            def pt(k, d): return {"P": off() + " PRECEDING", "F": off() + " FOLLOWING"}.get(pts[k], pts[k])
            if s.p(.15) and i < 3 and unit != "GROUPS": fr = OPT(" " + unit + " " + pt(i, 0) + exc)
            elif s.p(.1): fr = OPT(" " + unit + " " + pt(i, 0)) if i < 3 else ""
            else: fr = OPT(" " + unit + " BETWEEN " + pt(i, 0) + " AND " + pt(j, 1) + exc)
        return X(" OVER (", part, " " if part and order else "", OPT(order) if order and not total else order, fr, ")")

    def winexpr(s, ty, ctx):
        c = Ctx(ctx.scopes, sub=False, leaf=ctx.leaf, leafonly=ctx.leafonly, agg=None)
        if ctx.leafonly:
            ks = [k for k in ctx.leaf if k.ty == ty]
            return s.r.choice(ks) if ks else s.expr(ty, c, 1)
        if s.p(.65):
            x = s.col(ty, Ctx([ctx.win]))
            if x: return x
        x = s.expr(ty, c, 1)
        return x

    def window(s, ty, ctx):
        r = s.r
        w = lambda t2: s.winexpr(t2, ctx)
        def go(head, total, frame=True):
            o = s.over(ctx, total, frame)
            return E(ty, *head, o) if o is not None else None
        flt = lambda: [OPT(" FILTER (WHERE ", w("bool"), ")")] if s.p(.15) else []
        opts = []
        if ty == "int8":
            opts = [lambda: go(["row_number()"], True), lambda: go([r.choice(["rank()", "dense_rank()"])], False), lambda: go(["count(*)"] + flt(), s.p(.6)), lambda: go(["count(", w(r.choice(COMMON)), ")"] + flt(), s.p(.6)), lambda: go(["sum(", w("int4"), ")"] + flt(), s.p(.6))]
        elif ty == "int4": opts = [lambda: go(["ntile(%d)" % r.randint(1, 5)], True, False)]
        elif ty == "numeric": opts = [lambda: go([r.choice(["sum", "avg", "min", "max"]) + "(", w("numeric"), ")"] + flt(), s.p(.6)), lambda: go(["avg(", w("int4"), ")"], s.p(.5))]
        elif ty == "float8": opts = [lambda: go([r.choice(["percent_rank()", "cume_dist()"])], False, False), lambda: go([r.choice(["sum", "avg", "min", "max"]) + "(", w("float8"), ")"] + flt(), s.p(.6))]
        elif ty == "bool": opts = [lambda: go([r.choice(["bool_and", "bool_or"]) + "(", w("bool"), ")"], s.p(.6))]
        elif ty == "text": opts = [lambda: go(["string_agg(", w("text"), ", ',')"], True), lambda: go([r.choice(["min", "max"]) + "(", w("text"), ")"] + flt(), s.p(.5))]
        elif ty in ("int4[]", "text[]"): opts = [lambda: go(["array_agg(", w(ty[:-2]), ")"], True)]
        elif ty in ("date", "timestamp", "mood", "interval", "time", "timestamptz"): opts = [lambda: go([r.choice(["min", "max"]) + "(", w(ty), ")"], s.p(.5))]
        elif ty == "jsonb": opts = [lambda: go(["jsonb_agg(", w(r.choice(JT)), ")"], True)]
        opts = opts + [lambda: go([r.choice(["lag", "lead"]) + "(", w(ty), ")"], True, False), lambda: go([r.choice(["lag", "lead"]) + "(", w(ty), ", %d, " % r.randint(0, 3), s.lit(ty), ")"], True, False), lambda: go([r.choice(["first_value", "last_value"]) + "(", w(ty), ")"], True), lambda: go(["nth_value(", w(ty), ", %d)" % r.randint(1, 3)], True)]
        return r.choice(opts)()

    # ---- FROM
    def table_item(s, tab=None, small=False):
        ts = [x for x in s.tables if not small or x.rows <= 50] or s.tables
        tab = tab or s.r.choices(ts, [max(2, min(x.rows, 30)) for x in ts])[0]
        al = s.fresh("q")
        sc = Scope()
        sc.cols = [(al + "." + c, ty) for c, ty in tab.cols]
        sc.keys = [al + "." + k for k in tab.keys] if tab.keys else None
        sc.rows = [al]; sc.est = max(1, tab.rows); sc.uniq = tab.keys == ["id"] or (bool(tab.keys) and tab.name[0] == "w" and len(tab.keys) == 1 and len(tab.cols) == 2)
        return F(tab.name + " AS " + al), sc, al

    def derived(s, outer, lateral=False, small=True):
        s.qdepth += 1
        try: q, cols = s.query(outer if lateral else [], None, small=small, sub=True)
        finally: s.qdepth -= 1
        al = s.fresh("d"); names = [c[0] for c in cols]; lst = ""
        if s.p(.3) and cols:
            names = [s.fresh("x") for _ in cols]; lst = "(" + ", ".join(names) + ")"
        if len(set(names)) != len(names): names = [s.fresh("x") for _ in cols]; lst = "(" + ", ".join(names) + ")"
        sc = Scope(); sc.cols = [(al + "." + n, c[1]) for n, c in zip(names, cols)]
        sc.keys = None if any(c[1] in UNSORT for c in cols) else [x[0] for x in sc.cols]
        sc.rows = [al]; sc.est = 40
        return F(("LATERAL " if lateral else "") + "(", q, ") AS " + al + lst), sc, al

    def srf(s, outer, lateral):
        r = s.r; al = s.fresh("g"); sc = Scope(); c = Ctx(outer, sub=False)
        v = s.fresh("x"); sc.rows = []
        k = r.random(); arg = lambda t: s.expr(t, c, 1)
        ordn = s.p(.35); o = s.fresh("x")
        def fin(head, cols):
            cs = list(cols)
            if ordn: cs.append((o, "int8"))
            sc.uniq = ordn or "generate_series" in head[0] or "object_keys" in head[0] or "each" in head[0]
            sc.cols = [(al + "." + n, ty) for n, ty in cs]; sc.keys = None if any(ty in UNSORT for _, ty in cs) else [x[0] for x in sc.cols]; sc.est = 4
            return F(*head, " WITH ORDINALITY" if ordn else "", " AS " + al + "(" + ", ".join(n for n, _ in cs) + ")"), sc, al
        if k < .2: return fin(["generate_series(", E("int4", str(r.randint(-2, 3))), ", ", E("int4", str(r.randint(0, 6))), r.choice(["", ", 2", ", -1"]), ")"], [(v, "int4")])
        if k < .27: return fin(["generate_series(DATE '2024-01-01', DATE '2024-01-0%d', " % r.randint(1, 5), "interval '%s')" % r.choice(["1 day", "12 hours"])], [(v, "timestamptz")])
        if k < .33: return fin(["generate_series(TIMESTAMP '2024-01-31', TIMESTAMP '2024-05-01', interval '%s')" % r.choice(["1 month", "20 days"])], [(v, "timestamp")])
        if k < .55:
            t2 = r.choice(["int4[]", "text[]", "numeric[]"]); return fin(["unnest(", arg(t2), ")"], [(v, t2[:-2])])
        if k < .62: 
            v2 = s.fresh("x"); return fin(["unnest(", arg("int4[]"), ", ", arg("text[]"), ")"], [(v, "int4"), (v2, "text")])
        if k < .7:
            x = arg("jsonb"); return fin(["jsonb_array_elements(CASE WHEN jsonb_typeof(", x, ") = 'array' THEN ", x, " ELSE '[]' END)"], [(v, "jsonb")])
        if k < .78:
            x = arg("jsonb"); v2 = s.fresh("x"); tx = s.p(.5); return fin(["jsonb_each" + ("_text" if tx else "") + "(CASE WHEN jsonb_typeof(", x, ") = 'object' THEN ", x, " ELSE '{}' END)"], [(v, "text"), (v2, "text" if tx else "jsonb")])
        if k < .80: return fin(["jsonb_path_query(", arg("jsonb"), ", " + r.choice(["'$[*]'", "'$.*'", "'$.a'"]) + ")"], [(v, "jsonb")])
        if k < .82:
            x = arg("jsonb"); return fin(["jsonb_array_elements_text(CASE WHEN jsonb_typeof(", x, ") = 'array' THEN ", x, " ELSE '[]' END)"], [(v, "text")])
        if k < .86: return fin([r.choice(["regexp_split_to_table(", "string_to_table("]), arg("text"), ", ", r.choice(["','", "'b'", "'-'"]), ")"], [(v, "text")])
        if k < .9:
            x = arg("jsonb"); return fin(["jsonb_object_keys(CASE WHEN jsonb_typeof(", x, ") = 'object' THEN ", x, " ELSE '{}' END)"], [(v, "text")])
        if k < .95:
            ordn = False; v2 = s.fresh("x"); sc.cols = [(al + "." + v, "int4"), (al + "." + v2, "text")]; sc.keys = [x[0] for x in sc.cols]; sc.est = 3
            return F("jsonb_to_recordset('[{\"%s\": 1, \"%s\": \"x\"}, {\"%s\": 2}]') AS %s(%s int, %s text)" % (v, v2, v, al, v, v2)), sc, al
        return fin(["generate_series(", E("numeric", "'0.5'::numeric(4,1)"), ", ", E("numeric", "'3.0'::numeric(4,1)"), ", ", E("numeric", "'0.5'::numeric(4,1)"), ")"], [(v, "numeric")])

    def lvalues(s, outer):
        """rows of expressions over what stands to the left"""
        al = s.fresh("v"); nc = s.r.randint(1, 2); nr = s.r.randint(1, 3); ctx = Ctx(outer, sub=False)
        tys = [s.r.choice([x for x in COMMON if x not in UNSORT]) for _ in range(nc)]; names = [s.fresh("x") for _ in range(nc)]
        rows = [X("(", X(*sum([[s.expr(t2, ctx, 1), ", "] for t2 in tys], [])[:-1]), ")") for _ in range(nr)]
        sc = Scope(); sc.cols = [(al + "." + n, t2) for n, t2 in zip(names, tys)]; sc.keys = [c[0] for c in sc.cols]; sc.rows = [al]; sc.est = nr
        return F("LATERAL (VALUES ", L(rows), ") AS " + al + "(" + ", ".join(names) + ")"), sc, al

    def values(s):
        al = s.fresh("v"); nc = s.r.randint(1, 3); tys = [s.r.choice(COMMON) for _ in range(nc)]; nr = s.r.randint(1, 4)
        names = [s.fresh("x") for _ in range(nc)]; ctx = Ctx([], sub=False)
        rows = []
        for i in range(nr): rows.append(X("(", X(*sum([[s.lit(t2) if i == 0 else s.lit(t2, s.p(.5)), ", "] for t2 in tys], [])[:-1]), ")"))
        sc = Scope(); sc.cols = [(al + "." + n, t2) for n, t2 in zip(names, tys)]; sc.keys = None if any(x in UNSORT for x in tys) else [c[0] for c in sc.cols]; sc.rows = [al]; sc.est = nr
        return F("(VALUES ", L(rows), ") AS " + al + "(" + ", ".join(names) + ")"), sc, al

    def item(s, outer, small):
        k = s.r.random()
        if s.ctes and k < .3 :
            return s.table_item(s.r.choice(s.ctes))
        if k < .72 or s.qdepth >= 2: return s.table_item(None, small)
        if k < .86 and s.budget > 15: return s.derived(outer, small=True)
        if k < .93: return s.values()
        return s.srf([], False)

    def joincond(s, a, b, outer, eqonly=False):
        pairs = [(x, y) for x in a.cols for y in b.cols if x[1] == y[1] and x[1] not in UNSORT]
        conds = []; r = s.r
        if pairs:
            ids = [p for p in pairs if p[0][0].endswith("id") and p[1][0].endswith("id")]
            for _ in range(r.choice([1, 1, 1, 2])):
                x, y = r.choice(ids if ids and s.p(.7) else pairs)
                conds.append(E("bool", "(", E(x[1], x[0]), r.choice([" = "] * 8 + [" IS NOT DISTINCT FROM "]) if not eqonly else " = ", E(y[1], y[0]), ")"))
        big = a.est * b.est > 4000
        if not eqonly and not conds and not big: conds.append(s.expr("bool", Ctx([s.merge(a, b)], sub=False), 1))
        if not eqonly and s.p(.3):
            sc = s.merge(a, b); conds.append(s.expr("bool", Ctx(outer + [sc], sub=s.p(.2)), 1))
        if conds and not eqonly and not big and s.p(.15):
            num = [(x, y) for x in a.cols for y in b.cols if x[1] == y[1] and x[1] in ("int4", "date", "numeric", "text", "timestamp")]
            if num:
                x, y = r.choice(num); op = r.choice([" < ", " >= ", " <> ", " OR "])
                c2 = E("bool", "(", E(x[1], x[0]), r.choice([" < ", " >= ", " <> "]), E(y[1], y[0]), ")")
                return X("(", L(conds, " AND "), " OR ", c2, ")") if s.p(.4) else X(c2)
        if not conds: return None
        return L(conds, " AND ")

    def merge(s, a, b):
        m = Scope(); m.cols = a.cols + b.cols; m.keys = None if a.keys is None or b.keys is None else a.keys + b.keys; m.rows = a.rows + b.rows; m.uniq = a.uniq and b.uniq; m.est = a.est * max(1, min(b.est, 5))
        return m

    def from_(s, outer, small):
        r = s.r
        f, sc, al = s.item(outer, small)
        nj = r.choice([0, 0, 0, 1, 1, 1, 2, 3] if not small else [0, 0, 0, 0, 1, 1])
        for jn in range(nj):
            if sc.est > 2000: break
            k = r.random()
            if k < .15:
                g, sg, _ = s.srf(outer + [sc], True); kind = r.choice([" CROSS JOIN ", " LEFT JOIN ", ", "]) if jn == nj - 1 else r.choice([" CROSS JOIN ", " LEFT JOIN "])
                if sc.est * 4 > 3000: break
                f = F(f, kind, "LATERAL " if s.p(.5) else "", g, " ON true" if "LEFT" in kind else ""); 
                if "LEFT" in kind: pass
                sc = s.merge(sc, sg); continue
            if k < .19 and sc.est < 800:
                g, sg, _ = s.lvalues(outer + [sc]); kind = r.choice([" CROSS JOIN ", " LEFT JOIN "])
                f = F(f, kind, g, " ON true" if "LEFT" in kind else ""); sc = s.merge(sc, sg); continue
            if k < .27 and s.budget > 15 and s.qdepth < 2:
                g, sg, _ = s.derived(outer + [sc], True); kind = r.choice([" CROSS JOIN ", " LEFT JOIN ", ", "]) if jn == nj - 1 else r.choice([" CROSS JOIN ", " LEFT JOIN "])
                f = F(f, kind, g, " ON true" if "LEFT" in kind else ""); sc = s.merge(sc, sg); continue
            g, sg, al2 = s.item(outer, small)
            if s.p(.12) and not small:
                h, sh, _ = s.item(outer, True); c = s.joincond(sg, sh, outer)
                if c: g = F("(", g, r.choice([" JOIN ", " LEFT JOIN "]), h, " ON ", c, ")"); sg = s.merge(sg, sh)
            if k < .42:
                an = {}; bn = {}
                for c, ty in sc.cols: an.setdefault(c.split(".")[-1], []).append((c, ty))
                for c, ty in sg.cols: bn.setdefault(c.split(".")[-1], []).append((c, ty))
                com = [n for n in an if n in bn and len(an[n]) == 1 and len(bn[n]) == 1 and an[n][0][1] == bn[n][0][1] and an[n][0][1] not in UNSORT]
                if com:
                    us = r.sample(com, min(len(com), r.choice([1, 1, 2])))
                    if s.p(.5) and "id" in com and "id" not in us: us[0] = "id"
                    kind = r.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
                    f = F(f, " " + kind + " ", g, " USING (", L(us), ")")
                    m = s.merge(sc, sg)
                    m.cols = [(n, COLTY.get(n) or an[n][0][1]) for n in us] + [c for c in m.cols]; m.uniq = m.uniq and kind != "FULL JOIN"
                    sc = m; continue
            small_enough = sc.est * sg.est <= 4000
            if k < .5 and small_enough:
                f = F(f, r.choice([" CROSS JOIN ", ", "]) if jn == nj - 1 else " CROSS JOIN ", g); sc = s.merge(sc, sg); continue
            kind = r.choice(["JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
            c = s.joincond(sc, sg, outer, eqonly=kind == "FULL JOIN" )
            if c is None: continue
            f = F(f, " " + kind + " ", g, " ON ", c); sc = s.merge(sc, sg)
        return f, sc

    # ---- SELECT
    def select(s, outer, types, small=False, noorder=False, total=False, limit1=False, aggonly=False, sub=False, top=False, plainonly=False):
        """(query, [(name, type)])"""
        r = s.r
        if types is None: types = [r.choice(COMMON) for _ in range(r.choice([1, 1, 2, 2, 3, 4] if not top else [1, 2, 3, 3, 4, 5]))]
        if total: types = [t2 for t2 in types]
        f, sc = s.from_(outer, small)
        scopes = outer + [sc]
        where = OPT(" WHERE ", s.expr("bool", Ctx(scopes), 2), OPT(r.choice([" OR ", " OR NOT "]), s.expr("bool", Ctx(scopes), 1)) if s.p(.3) else "") if s.p(.5) else ""
        mode = "plain" if plainonly else "agg" if aggonly else r.choice(["plain"] * 5 + ["group"] * 3 + ["agg", "win", "win"])
        if mode == "win" and small and s.p(.5): mode = "plain"
        nul = [c for c in sc.cols if c[0].endswith(".id")]
        if where and len(nul) > 1 and s.p(.2): where = OPT(" WHERE ", E("bool", nul[-1][0] + r.choice([" IS NULL", " IS NOT NULL"])), *( [" AND ", s.expr("bool", Ctx(scopes), 1)] if s.p(.4) else []))
        having = group = ""; windowc = ""
        items = []; distinct = ""; keys = []; plainkeys = None; winagg = []
        names = [s.fresh("c") for _ in types]
        if mode == "plain":
            ctx = Ctx(scopes)
        elif mode == "win": ctx = Ctx(scopes, win=sc, sub=s.p(.3))
        elif mode == "agg":
            ctx = Ctx(outer, agg=sc, leafonly=not outer, sub=s.p(.2), leaf=[])
            if outer: ctx = Ctx(outer, agg=sc, sub=s.p(.2), leaf=[])
            if s.p(.2): having = OPT(" HAVING ", s.expr("bool", ctx, 2))
        else:
            nk = r.choice([1, 1, 2, 2, 3])
            for _ in range(nk):
                ty = r.choice([t2 for t2 in types if t2 not in UNSORT] or ["int4"]) if s.p(.6) else r.choice([x for x in COMMON if x not in UNSORT])
                k = s.col(ty, Ctx([sc])) if s.p(.7) else None
                if k is None:
                    k = s.expr(ty, Ctx([sc], sub=False), 1)
                    if not re.search(r"[a-z]\d+\.", str(k)): k = s.col("int4", Ctx([sc])) or k
                if not re.search(r"[a-z]\d+\.|^\w+$", str(k)): continue
                if re.fullmatch(r"\(?-?\d+\)?|NULL.*|'.*|true|false|\$\d+.*", str(k)): continue
                if str(k) not in [str(x) for x in keys]: keys.append(k)
            if not keys:
                c = r.choice(sc.cols); c = c if c[1] not in UNSORT else None
                if c: keys = [E(c[1], c[0])]
            if not keys: ctx = Ctx(outer, agg=sc, leafonly=not outer, sub=False, leaf=[])
            else:
                g = r.random()
                if g < .6: gl = plainkeys = L(list(keys))
                elif g < .65: gl = X("DISTINCT ROLLUP (", L(keys), "), ", keys[0])
                elif g < .72: gl = X("ROLLUP (", L(keys), ")")
                elif g < .82: gl = X("CUBE (", L(keys[:2]), ")"); keys = keys[:2]
                elif g < .95:
                    sets = []
                    for _ in range(r.randint(1, 4)):
                        k2 = r.sample(keys, r.randint(0, len(keys))); sets.append(X("(", X(*sum([[x, ", "] for x in k2], [])[:-1]), ")"))
                    sets.append(X("(", X(*sum([[x, ", "] for x in keys], [])[:-1]), ")"))
                    gl = X("GROUPING SETS (", L(sets), ")")
                else: gl = X(r.choice(["", "DISTINCT "]), keys[0], ", ROLLUP (", L(keys), ")") 
                group = X(" GROUP BY ", gl)
                leaf = list(keys)
                if g >= .6:
                    leaf.append(E("int4", "grouping(", L(keys if s.p(.5) else [keys[0]]), ")"))
                ctx = Ctx(outer if outer else [], agg=sc, leafonly=not outer, leaf=leaf, sub=s.p(.15))
                if s.p(.3): having = OPT(" HAVING ", s.expr("bool", ctx, 2))
                if s.p(.2):
                    ws = Scope(); ws.cols = []; ws.keys = None
                    def wagg(ctx=ctx, leaf=leaf):
                        k = s.r.choice(keys); ag = s.aggregate(s.r.choice(["int8", "numeric", "int4", "text"]), ctx) or k
                        kind = s.r.choice(["rank()", "dense_rank()", "S", "S", "row_number()", "L"])
                        od = X(" ORDER BY ", L([s.sortkey(ag), FIX(L([FIX(x) for x in keys]))]) if g < .6 else L([s.sortkey(ag)]))
                        if g >= .6 and kind in ("row_number()", "L"): kind = "rank()"
                        part = X("PARTITION BY ", k) if s.p(.3) else ""
                        if kind == "S": return E("numeric", "sum(", s.aggregate("int8", ctx), ") OVER (", part, OPT(od) if s.p(.5) else "", ")")
                        if kind == "L": return E("int8", s.r.choice(["lag", "lead", "first_value"]) + "(", s.aggregate("int8", ctx), ") OVER (", part, od, ")")
                        return E("int8", kind, " OVER (", part, od, ")")
                    winagg = [wagg() for _ in range(s.r.choice([1, 1, 2]))]
        exprs = [s.expr(t2, ctx, r.choice([1, 2, 2, 3] if not small else [0, 1, 1, 2])) for t2 in types]
        if aggonly and having == "" and not re.match(r"(count|sum|min|max|avg|array_agg|jsonb_agg|bool_and|bool_or|every|string_agg|bit_\w+|stddev\w*|var\w+|regr_\w+|corr|covar\w+|percentile\w+|mode|jsonb?_object_agg|json_agg)\(", str(exprs[0])): having = " HAVING count(*) >= 0"
        if winagg and not small:
            for x in winagg: exprs.append(x); types = types + [x.ty]; names = names + [s.fresh("c")]
        srfcol = False
        if mode == "plain" and top and s.p(.06):
            srfcol = True
            exprs.append(E("int4", "unnest(", s.expr("int4[]", Ctx(scopes, sub=False), 1), ")") if s.p(.5) else E("int4", "generate_series(1, ", str(r.randint(0, 4)), ")")); types = types + ["int4"]; names = names + [s.fresh("c")]
        items = [X(e, " AS " + n) for e, n in zip(exprs, names)]
        sortable = all(t2 not in UNSORT for t2 in types)
        order = lim = ""
        want = (total or limit1 or (not noorder and s.p(.5 if top else .25)))
        if mode in ("plain", "win") and sortable and s.p(.1) and not limit1: distinct = OPT("DISTINCT ")
        elif mode == "plain" and sc.keys and s.p(.08) and not limit1 and not total and not srfcol:
            dk = [s.winexpr(r.choice(["int4", "text", "bool", "date", "mood"]), Ctx(scopes, win=sc, sub=False)) for _ in range(r.choice([1, 2]))]
            dk = [k for k in dk if re.search(r"[a-z]\d+\.", str(k)) and not str(k).startswith("$")]
            if dk:
                distinct = X("DISTINCT ON (", X(*sum([[x, ", "] for x in dk], [])[:-1]), ") ")
                order = X(" ORDER BY ", L([FIX(s.sortkey(k)) for k in dk] + [FIX(s.sortkey(k)) for k in sc.keys]))
                s.total = True
                if s.p(.2): lim = ""
                return Q("SELECT ", distinct, L(items), " FROM ", f, where, order), list(zip(names, types))
        il = L(items); s.total = False
        if plainkeys is not None:
            for i, k in enumerate(plainkeys.p):
                hit = [x for x in items if x.p[0] is k]
                if hit and s.p(.35): plainkeys.p[i] = ORD(il, hit[0], r.choice(["pos", "name"]), "")
        q = ["SELECT ", distinct, il, " FROM ", f, where, group, having]
        if want and sortable:
            pos = list(range(1, len(types) + 1)); r.shuffle(pos)
            ks = [ORD(il, items[i - 1], "pos" if plainonly or s.p(.6) else "name", r.choice(["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"])) for i in pos]
            s.total = True
            if s.p(.3) and not distinct:
                ks.insert(0, s.sortkey(s.ordexpr(r.choice(["int4", "text", "numeric", "bool", "date"]), ctx)))
            order = X(" ORDER BY ", L(ks))
            if limit1: lim = " LIMIT 1"
            elif s.p(.35):
                n = r.choice([0, 1, 2, 3, 5, 10, 50]); o = r.choice([0, 1, 2, 7])
                if s.params and s.p(.4): lim = X(" LIMIT ", Param("int8", str(n), s.p(.5), False, None))
                else: lim = r.choice([" LIMIT %d" % n, " LIMIT %d OFFSET %d" % (n, o), " OFFSET %d" % o, " FETCH FIRST %d ROWS ONLY" % n, " OFFSET %d ROWS FETCH NEXT %d ROWS ONLY" % (o, n)])
                lim = OPT(lim)
            q += [order if lim else OPT(order), lim]
        elif want and sortable is False and not limit1 and s.p(.0): pass
        elif not noorder and not limit1 and s.p(.06) and not distinct and mode in ("plain", "group") and not srfcol:
            q += [X(" ORDER BY ", s.sortkey(s.ordexpr(r.choice(["int4", "text", "numeric", "date"]), ctx)), " FETCH FIRST %d ROWS WITH TIES" % r.randint(1, 6))]
        elif limit1: # json: one row by its key
            if mode in ("plain", "win") and sc.keys: q += [" ORDER BY " + ", ".join(sc.keys), " LIMIT 1"]
            elif mode == "group": 
                q, c = s.select(outer, types, small=small, aggonly=True); return q, c
            else: q += [" LIMIT 1"] if mode == "agg" else [OPT("")]
            if mode in ("plain", "win") and not sc.keys:
                q, c = s.select(outer, types, small=small, aggonly=True); return q, c
        return Q(*q), list(zip(names, types))

    def ordexpr(s, ty, ctx):
        x = s.expr(ty, ctx.but(sub=False), 1)
        if re.fullmatch(r"\(?-?\d+\)?|NULL.*|'[^']*'(::.*)?|[A-Z]+ '[^']*'|true|false|\$\d+.*", str(x)): return E(ty, "(", x, ")::", DECL[ty]) if not str(x).startswith("$") else E("int4", "1 + 0")
        return x

    def setop(s, outer, types, small, depth=0):
        r = s.r
        if types is None:
            types = [r.choice([x for x in COMMON if x not in UNSORT]) for _ in range(r.choice([1, 2, 3]))]
        def arm(first=False):
            if depth < 1 and s.p(.2) and not first: q, c = s.setop(outer, types, small, depth + 1); return X("(", q, ")"), c
            if s.p(.15):
                return Q("VALUES ", L([X("(", X(*sum([[s.lit(t2), ", "] for t2 in types], [])[:-1]), ")") for _ in range(r.randint(1, 3))])), [("column%d" % (i + 1), t2) for i, t2 in enumerate(types)]
            ty2 = list(types)
            if s.p(.25):
                for i, x in enumerate(ty2):
                    if x in ("numeric", "float8", "int8") and s.p(.6): ty2[i] = "int4"
                    elif x == "text" and s.p(.5): ty2[i] = "varchar"
                    elif x == "timestamp" and s.p(.5): ty2[i] = "date"
            q, c = s.select(outer, ty2, small=True, noorder=first or s.p(.7))
            return (X("(", q, ")") if not first or "ORDER BY" in str(q)[-60:] or "FETCH" in str(q)[-60:] else q), [(c[i][0], types[i]) for i in range(len(types))]
        a, ca = arm(True); parts = [a]; 
        for _ in range(r.choice([1, 1, 1, 2])):
            b, _ = arm(); parts += [" " + r.choice(["UNION", "UNION ALL", "UNION ALL", "INTERSECT", "EXCEPT"] + (["INTERSECT ALL", "EXCEPT ALL"] if not s.noall else [])) + " ", b]
        s.total = False
        if s.p(.4):
            s.total = True
            pos = list(range(1, len(types) + 1)); r.shuffle(pos)
            ks = X(" ORDER BY ", L([FIX(str(i), r.choice(["", " DESC", " NULLS FIRST"])) for i in pos]))
            if s.p(.4): parts += [ks, OPT(r.choice([" LIMIT 3", " LIMIT 10 OFFSET 1", " OFFSET 2"]))]
            else: parts += [OPT(ks)]
        return Q(*parts), ca

    def cte(s, outer):
        r = s.r; name = s.fresh("w")
        if s.p(.25):
            k = r.random(); n1, n2 = s.fresh("x"), s.fresh("x")
            ty = r.choice(["text", "numeric", "int8", "date", "int4[]", "text[]", "int4"])
            if k < .5:
                step = {"text": "(%s || 'z')", "numeric": "(%s + 1)::numeric(10,2)", "int8": "(%s * 2)", "date": "(%s + 1)", "int4[]": "(%s || 7)", "text[]": "(%s || 'q'::text)", "int4": "(%s + 2)"}[ty] % n2
                q = X(name + "(%s, %s) AS (SELECT 1, " % (n1, n2), s.lit(ty) if not s.params else E(ty, quote(raw(r, ty)) + "::" + DECL[ty]), r.choice([" UNION ALL ", " UNION "]), "SELECT %s + 1, %s FROM %s WHERE %s < %d)" % (n1, step, name, n1, r.randint(0, 6)))
                t2 = Table(name, [(n1, "int4"), (n2, ty)], [n1]); t2.rows = 6; return q, t2, True
            tab = r.choice(s.tables[:8]); al = s.fresh("q")
            q = X(name + "(id, %s) AS (SELECT id, 0 FROM %s WHERE pid IS NULL%s" % (n1, tab.name, " AND id < 3" if s.p(.5) else ""), r.choice([" UNION ALL ", " UNION "]), "SELECT %s.id, w.%s + 1 FROM %s AS %s JOIN %s AS w ON %s.pid = w.id WHERE w.%s < %d)" % (al, n1, tab.name, al, name, al, n1, r.randint(1, 8)))
            t2 = Table(name, [("id", "int4"), (n1, "int4")], ["id"]); t2.rows = tab.rows; return q, t2, True
        s.qdepth += 1
        try: q, cols = s.query([], None, small=True, sub=True)
        finally: s.qdepth -= 1
        names = [c[0] for c in cols]; lst = ""
        if len(set(names)) != len(names) or s.p(.3) or any(n.startswith("column") for n in names): names = [s.fresh("x") for _ in cols]; lst = "(" + ", ".join(names) + ")"
        t2 = Table(name, [(n, c[1]) for n, c in zip(names, cols)], None if any(c[1] in UNSORT for c in cols) else names); t2.rows = 40
        return X(name + lst + " AS " + r.choice(["", "", "MATERIALIZED ", "NOT MATERIALIZED "]) + "(", q, ")"), t2, False

    def query(s, outer, types, small=False, sub=False, top=False):
        r = s.r
        w = ""; saved = list(s.ctes)
        if s.p(.2 if top else .05) and s.budget > 20:
            ws = []; rec = False
            for _ in range(r.choice([1, 1, 2])):
                x, t2, rc = s.cte(outer); ws.append(x); rec |= rc; s.ctes.append(t2)
            w = X("WITH RECURSIVE " if rec else "WITH ", L(ws), " ")
        if s.p(.15): q, c = s.setop(outer, types, small)
        else: q, c = s.select(outer, types, small=small, sub=sub, top=top)
        s.ctes = saved
        return (Q(w, q) if w else q), c

    def special(s):
        """forms the typed grammar does not reach"""
        r = s.r; f, sc, al = s.table_item(r.choice(s.tables[:8])); ctx = Ctx([sc])
        k = r.randint(0, 16)
        if k == 10: return Q("SELECT " + al + ".*, count(*) AS n0, ", s.aggregate(r.choice(["int8", "numeric", "text"]), Ctx([], agg=sc)), " AS n1 FROM ", f, " GROUP BY " + ", ".join(al + "." + c for c, ty in r.choice(s.tables[:1]).cols[:0] or [("id", "")])), sc
        if k == 11:
            g, sg, bl = s.table_item(r.choice(s.tables[:8])); return Q("SELECT * FROM ", f, r.choice([" JOIN ", " LEFT JOIN "]), g, " USING (", r.choice(["id", "id, pid"]), ")", OPT(" WHERE ", s.expr("bool", Ctx([s.merge(sc, sg)]), 1))), sc
        if k == 12:
            g, sg, bl = s.table_item(r.choice(s.tables[:8])); return Q("SELECT " + al + ".id, " + bl + ".*, " + bl + ".id AS i2 FROM ", f, " LEFT JOIN ", g, " ON " + al + ".pid = " + bl + ".id", OPT(" WHERE ", s.expr("bool", Ctx([s.merge(sc, sg)]), 2))), sc
        if k == 13: return Q("SELECT " + al + ".id FROM ", f, " ORDER BY (", s.scalarq(r.choice(["int4", "text", "numeric", "date"]), [sc]), ")", r.choice(["", " DESC NULLS LAST"]), ", 1"), sc
        if k == 14: return Q("SELECT (", s.scalarq(r.choice(["int4", "text", "bool"]), [sc]), ") AS k, count(*) AS n, ", s.aggregate(r.choice(["int8", "numeric"]), Ctx([], agg=sc)), " AS m FROM ", f, " GROUP BY 1"), sc
        if k == 15: return Q("SELECT " + al + ".id, sum((", s.scalarq("int4", [sc]), ")) OVER (PARTITION BY ", s.winexpr(r.choice(["bool", "text", "int2"]), Ctx([sc], win=sc)), OPT(" ORDER BY " + al + ".id"), ") AS x FROM ", f), sc
        if k == 16: return Q("SELECT sum(x) AS s0, count(DISTINCT y) AS s1, max(z) AS s2 FROM (SELECT " + al + ".id AS i, (", s.scalarq("int4", [sc]), ") AS x, (", s.scalarq("text", [sc]), ") AS y, ", s.window("int8", Ctx([sc], win=sc, sub=False)), " AS z FROM ", f, ") AS zz", OPT(" WHERE x IS NOT NULL")), sc
        if k == 0: return Q("SELECT " + al + ".* FROM ", f, " ORDER BY " + al + ".id"), sc
        if k == 1: return Q("SELECT to_jsonb(" + al + ") - 'ch' - 'r' AS x FROM ", f, " WHERE ", s.expr("bool", ctx, 1), " ORDER BY " + al + ".id LIMIT 20"), sc
        if k == 2:
            g, sg, bl = s.table_item(); return Q("SELECT count(*) AS n FROM ", f, " JOIN ", g, " ON " + al + ".id = " + bl + ".id WHERE (" + al + " IS NULL) OR ", s.expr("bool", Ctx([s.merge(sc, sg)]), 1)), sc
        if k == 3:
            g, sg, bl = s.table_item(); return Q("SELECT * FROM ", f, " NATURAL " + r.choice(["", "LEFT ", "RIGHT ", "FULL "]) + "JOIN (SELECT id, pid AS p2, ", s.expr(r.choice(COMMON), Ctx([sg]), 1), " AS zz FROM ", g, ") AS " + bl + "x"), sc
        if k == 4: return Q("SELECT " + al + ".id, (" + al + ").pid AS p, " + al + " IS NULL AS isn, ", s.expr("bool", ctx, 1), " AS b FROM ", f), sc
        if k == 5: return Q("TABLE " + r.choice(s.tables[:8]).name), sc
        if k == 6:
            x = s.expr("int4", ctx, 1); return Q("SELECT ", x, " AS k, count(*), grouping(", x, ") FROM ", f, " GROUP BY ", x if re.search(r"\.", str(x)) else X(al + ".id"), " ORDER BY 1, 2"), sc
        if k == 7: return Q("SELECT ", L([X(s.expr(r.choice(COMMON), Ctx([], sub=False), 3), " AS x%d" % i) for i in range(6)])), sc
        if k == 8: return Q("SELECT (SELECT jsonb_agg(z ORDER BY z.id) FROM (SELECT id, pid, ", s.expr(r.choice(["int4", "text", "date", "bool"]), ctx, 1), " AS e FROM ", f, ") AS z) AS x"), sc
        w = s.fresh("w"); ctx2 = Ctx([sc], win=sc, sub=False)
        return Q("SELECT " + al + ".id, sum(", s.expr("int4", Ctx([sc], sub=False), 1), ") OVER w AS s1, ", r.choice(["rank()", "row_number()", "count(*)", "dense_rank()", "lag(" + al + ".pid)"]), " OVER (w ORDER BY " + al + ".id" + r.choice([" DESC", ""]) + ") AS s2 FROM ", f, " WINDOW w AS (PARTITION BY ", s.winexpr(r.choice(["bool", "text", "int4"]), ctx2), ")"), sc

    def statement(s):
        x = s.r.random()
        if x < .06:
            q, _ = s.special(); s.total = False; return q
        if x < .25:  # expressions alone
            f, sc, al = s.table_item(); ctx = Ctx([sc], sub=s.p(.3))
            n = s.r.randint(2, 8); s.budget = 120
            items = [X(al + ".id", " AS id")] + [X(s.expr(s.r.choice(COMMON), ctx, s.r.choice([2, 3, 4])), " AS c%d" % i) for i in range(n)]
            w = OPT(" WHERE ", s.expr("bool", ctx, 3)) if s.p(.5) else ""
            s.total = s.p(.6)
            return Q("SELECT ", L([FIX(items[0])] + items[1:]), " FROM ", f, w, " ORDER BY 1" if s.total else "")
        q, _ = s.query([], None, top=True)
        return q

def statement(seed, tables):
    rng = random.Random(seed)
    g = Gen(rng, tables, params=rng.random() < .25)
    q = g.statement()
    return q, g.total

def view_defs(seed, tables):
    rng = random.Random(seed); res = []
    for i in range(4):
        g = Gen(rng, tables); g.noall = True; g.n = 1000 * (i + 1)
        q, cols = g.query([], None, small=False, sub=True)
        res.append(("view%d" % i, q, cols))
    return res
