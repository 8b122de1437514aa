"""Statement trees that can be rendered and reduced."""
import itertools, copy
_uid = itertools.count(1)

class Param:
    __slots__ = ("uid", "ty", "val", "declared", "binary", "cast")
    def __init__(s, ty, val, declared, binary, cast):
        s.uid = next(_uid); s.ty = ty; s.val = val; s.declared = declared; s.binary = binary; s.cast = cast

class N:
    __slots__ = ("k", "p", "ty", "sep", "min")
    def __init__(s, k, p, ty=None, sep=None, min=1):
        s.k = k; s.p = p; s.ty = ty; s.sep = sep; s.min = min
    def __str__(s): return render(s)[0]

def E(ty, *p): return N("e", list(p), ty)
def X(*p): return N("x", list(p))
def OPT(*p): return N("opt", list(p))
def L(items, sep=", ", min=1): return N("lst", list(items), None, sep, min)
def Q(*p): return N("q", list(p))
def ORD(lst, item, style, *p): return N("ord", list(p), None, (lst, item, style))
def FIX(*p): return N("fix", list(p))
def F(*p): return N("f", list(p))

def render(n):
    """text, params in order"""
    out = []; order = {}; params = []
    def go(x):
        if isinstance(x, str): out.append(x); return
        if isinstance(x, Param):
            if x.uid not in order:
                order[x.uid] = len(order) + 1; params.append(x)
            out.append("$%d" % order[x.uid])
            if x.cast: out.append("::" + x.cast)
            return
        if x.k == "ord":
            lst, item, style = x.sep
            idx = [k for k, i in enumerate(lst.p) if i is item]
            out.append(str(idx[0] + 1) if style == "pos" else item.p[-1][4:])
            for i in x.p: go(i)
            return
        if x.k == "lst":
            first = True
            for i in x.p:
                if isinstance(i, N) and i.k == "ord" and not any(y is i.sep[1] for y in i.sep[0].p): continue
                if not first: out.append(x.sep)
                first = False; go(i)
            return
        for i in x.p: go(i)
    go(n)
    return "".join(out), params

def nodes(root):
    seen = set(); res = []
    def go(x):
        if not isinstance(x, N): return
        if id(x) in seen: return
        seen.add(id(x)); res.append(x)
        for i in x.p: go(i)
    go(root)
    return res

def size(root): return len(render(root)[0])
