"""How the content browser looks: one style sheet for light and dark, wide and narrow, and for print."""

from __future__ import annotations

import base64
import hashlib

LIGHT = {
    "paper": "#ffffff",
    "wash": "#f4f6f8",
    "ink": "#1a222c",
    "soft": "#566170",
    "line": "#dce1e7",
    "edge": "#7c8795",
    "accent": "#1d4ea8",
    "yes": "#0a6538",
    "no": "#a1262b",
    "warn": "#7a4b00",
    "yeswash": "#e6f4ec",
    "nowash": "#fbeaea",
    "warnwash": "#fbf1dc",
    "accentwash": "#e8eefb",
}
DARK = {
    "paper": "#11161d",
    "wash": "#19202a",
    "ink": "#e3e8ee",
    "soft": "#9ba7b6",
    "line": "#2b3543",
    "edge": "#77849a",
    "accent": "#93b6ff",
    "yes": "#74d3a2",
    "no": "#ff9d97",
    "warn": "#e8bb6c",
    "yeswash": "#13291f",
    "nowash": "#331b1d",
    "warnwash": "#2e2412",
    "accentwash": "#1a2740",
}
"""Colors by what they are for; every text color is readable on every ground that it is used on."""


def _variables(colors: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colors.items())


_RULES = """
*,*::before,*::after{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:.9375rem/1.5 system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue",sans-serif;font-variant-numeric:tabular-nums}
a{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:.18em}
a:hover{text-decoration-thickness:2px}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-200vw;top:0;background:var(--paper);padding:.5rem 1rem;z-index:1}
.skip:focus{left:0}
.band{background:var(--wash);border-bottom:1px solid var(--line)}
.in{max-width:80rem;margin:0 auto;padding:0 1.5rem}
.top{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem 1.75rem;padding-top:.8rem;padding-bottom:.8rem}
.name{font-weight:650;color:var(--ink);text-decoration:none;letter-spacing:-.01em}
nav ul,ol.trail{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:0;padding:0;list-style:none;min-width:0}
ol.trail>li+li::before{content:"/" / "";color:var(--soft);margin-right:.6rem}
ol.trail{gap:.25rem .6rem}
p.wide{max-width:none}
nav li{min-width:0;overflow-wrap:anywhere}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
nav [aria-current]{color:var(--ink);font-weight:600}
.as{display:flex;flex-wrap:wrap;align-items:end;gap:.5rem .75rem;padding-top:.65rem;padding-bottom:.75rem}
.band.on{background:var(--accentwash)}
.as p{margin:0 0 .3rem}
label{display:block;font-size:.75rem;color:var(--soft);margin-bottom:.15rem}
.on label{color:var(--ink)}
input,select,button{font:inherit;color:var(--ink);background:var(--paper);border:1px solid var(--edge);
border-radius:5px;padding:.28rem .55rem;min-height:2.1rem;max-width:100%}
.field{min-width:0;max-width:100%}.field.grow{flex:1 1 15rem}.field.grow input{width:100%}
::placeholder{color:var(--soft);opacity:1}
button{cursor:pointer;font-weight:550;padding-left:.9rem;padding-right:.9rem}
button:hover{background:var(--wash)}
.bar{display:flex;flex-wrap:wrap;align-items:end;gap:.5rem .75rem;margin:.75rem 0 1rem}
main.in{padding-top:1.25rem;padding-bottom:3rem}
h1{font-size:1.5rem;line-height:1.25;letter-spacing:-.015em;margin:.25rem 0 .35rem;overflow-wrap:anywhere;
font-weight:650}
h1 code{font-size:.9em}
h2{font-size:1.0625rem;margin:2.25rem 0 .6rem;letter-spacing:-.005em;overflow-wrap:anywhere;font-weight:650}
h3{font-size:.875rem;margin:0 0 .5rem;overflow-wrap:anywhere;font-weight:650}
p{margin:.3rem 0 .6rem;max-width:72ch;overflow-wrap:anywhere}
.soft{color:var(--soft)}.on .soft{color:var(--ink)}
small,.small{font-size:.8125rem}
code,pre{font-family:ui-monospace,SFMono-Regular,"Cascadia Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.8125rem}
code{overflow-wrap:anywhere;unicode-bidi:isolate}
bdi{overflow-wrap:anywhere}
pre{margin:.25rem 0;padding:.85rem 1rem;background:var(--wash);border:1px solid var(--line);border-radius:6px;
white-space:pre-wrap;overflow-wrap:anywhere;max-height:36rem;overflow:auto;line-height:1.5;unicode-bidi:plaintext}
pre.hex{white-space:pre;overflow-wrap:normal}
table{border-collapse:collapse;width:100%;margin:.25rem 0 1.5rem}
section.lead caption{color:var(--ink);font-size:.875rem;font-weight:600}
caption{text-align:left;color:var(--soft);font-size:.8125rem;padding:0 0 .4rem}
th,td{text-align:left;vertical-align:top;padding:.5rem 1.25rem .5rem 0;border-bottom:1px solid var(--line);
overflow-wrap:anywhere;min-width:0}
th:last-child,td:last-child{padding-right:0}
thead th{font-size:.75rem;font-weight:600;color:var(--soft);white-space:nowrap;border-bottom-color:var(--edge);
padding-top:.25rem;padding-bottom:.35rem;overflow-wrap:normal}
tbody th{font-weight:500}
.title{font-weight:600}
.kind{display:inline-block;white-space:pre;color:var(--soft);font-size:.8125rem}
tbody tr:hover{background:var(--wash)}
.n{text-align:right;white-space:nowrap}
.w{white-space:nowrap}
td .sub,th .sub{display:block;color:var(--soft);font-weight:400}
dl{display:grid;grid-template-columns:fit-content(16rem) minmax(0,1fr);margin:.25rem 0 1rem}
dt,dd{padding:.32rem 0;border-bottom:1px solid var(--line);margin:0;overflow-wrap:anywhere;min-width:0}
dt{color:var(--soft);padding-right:2rem}
dl.facts{display:flex;flex-wrap:wrap;gap:.75rem 2.5rem;margin:1rem 0}
dl.facts>div{min-width:0}
dl.facts dt,dl.facts dd{border:0;padding:0}dl.facts dt{font-size:.75rem}
dl.facts dd{font-weight:500}
.tag{display:inline-block;font-size:.75rem;line-height:1.35;padding:.1rem .5rem;border-radius:99px;
background:var(--wash);color:var(--soft);border:1px solid var(--line);white-space:nowrap;font-weight:550}
.tag.yes{background:var(--yeswash);color:var(--yes);border-color:transparent}
.tag.no{background:var(--nowash);color:var(--no);border-color:transparent}
.tag.warn{background:var(--warnwash);color:var(--warn);border-color:transparent}
.tag.info{background:var(--accentwash);color:var(--accent);border-color:transparent}
.plain{list-style:none;margin:0;padding:0}
.plain>li{padding:.12rem 0;overflow-wrap:anywhere;min-width:0}
.note{border:1px solid var(--line);border-left:3px solid var(--edge);border-radius:5px;padding:.6rem .9rem;
margin:1rem 0;background:var(--wash);overflow-wrap:anywhere}
.note p{margin:.1rem 0}
.note.yes{border-left-color:var(--yes);background:var(--yeswash);color:var(--ink)}
.note.no{border-left-color:var(--no);background:var(--nowash);color:var(--ink)}
.note .soft,.note .kind{color:var(--ink)}
ol.levels{list-style:none;margin:0;padding:0}
ol.levels>li+li{margin-top:1.6rem;position:relative}
ol.levels>li+li::before{content:"otherwise";position:absolute;top:-1.4rem;left:1rem;font-size:.75rem;color:var(--soft)}
.level{border:1px solid var(--line);border-radius:8px;padding:.75rem 1rem;background:var(--wash)}
.sets{display:flex;gap:2.6rem;align-items:stretch;list-style:none;margin:0;padding:0}
.sets.stack{flex-direction:column;gap:1.6rem}
.sets>li{flex:1 1 0;min-width:0;position:relative;background:var(--paper);
border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem}
.sets>li+li::before{content:"and";font-size:.75rem;color:var(--soft);position:absolute;left:-1.95rem;
top:calc(50% - .6rem)}
.sets.stack>li+li::before{left:.8rem;top:-1.35rem}
.sets p{margin:0 0 .35rem}
.sets h4{font-size:.75rem;margin:.35rem 0 .1rem;font-weight:600}
.sets h4:first-child{margin-top:0}
.pages{display:flex;flex-wrap:wrap;gap:.4rem 1.25rem;align-items:baseline;margin:1rem 0}
footer{border-top:1px solid var(--line);color:var(--soft);font-size:.8125rem}
footer .in{padding-top:.9rem;padding-bottom:2rem}
@media (max-width:46rem){
.in{padding-left:1rem;padding-right:1rem}
dl:not(.facts){display:block}
dl:not(.facts) dt{border:0;padding-bottom:0;font-size:.75rem}
dl:not(.facts) dd{padding-top:0}
table,tbody,tr,th,td,caption{display:block}
thead{position:absolute;left:-200vw}
tbody tr{padding:.6rem 0;border-bottom:1px solid var(--line)}
th,td{border:0;padding:.12rem 0}
td[data-label]{display:grid;grid-template-columns:6.5rem minmax(0,1fr);gap:.75rem}
td[data-label]::before{content:attr(data-label);color:var(--soft);font-size:.75rem;line-height:1.9}
.n{text-align:left;white-space:normal}.w{white-space:normal}
.tag{white-space:normal}
.as .field{flex:1 1 9rem}.as .field.grow{flex-basis:100%}.as select{width:100%}
.sets{flex-direction:column;gap:1.6rem}
.sets>li+li::before{left:.8rem;top:-1.35rem}
}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
@media (forced-colors:active){.tag,.note,.level{border-color:currentColor}}
@media print{.as,.bar,nav,.skip{display:none}pre{max-height:none}}
"""

STYLE = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}\n"
    f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}\n"
    + _RULES
)  # fmt: skip

_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What every page is sent with: no script runs, and no style but this one."""
