"""The stylesheet of a report: no file, font or script from elsewhere; light and dark by the reader's system."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d1d1f; --soft: #5f6368; --rule: #dcdfe3; --box: #f6f7f9;
  --warn: #9a3b00; --warn-box: #fff4e8; --c0: #0060bc; --c1: #d55e00; --c2: #00a96a; --c3: #b864b0; --c4: #1d1d1f;
  --c5: #978791; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e8e8ea; --soft: #a3a8af; --rule: #353a41;
  --box: #1e2126; --warn: #ffb37a; --warn-box: #33241a; --c0: #2f86dd; --c1: #ff7a33; --c2: #35d6a6; --c3: #f09ad8;
  --c4: #f7f3c0; --c5: #8b9099; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 75rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .6rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p, ul { margin: .4rem 0; max-width: 48rem; }
ul { padding-left: 1.2rem; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.attention { background: var(--warn-box); border-left: 4px solid var(--warn); padding: .6rem .9rem 1rem;
  margin: 1.2rem 0; }
.attention h2 { border: 0; margin: 0; padding: 0; font-size: 1.1rem; color: var(--warn); }
.warn { color: var(--warn); font-weight: 600; }
.scroll { overflow-x: auto; margin: .2rem 0 .8rem; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; vertical-align: bottom; }
td.n, th.n { text-align: right; padding-left: .7rem; }
td.n, td.k { white-space: nowrap; }
td.w { min-width: 12rem; max-width: 32rem; overflow-wrap: anywhere; }
small { color: var(--soft); font-size: .85em; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; font-size: .9rem;
  max-width: none; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1.2rem 1.5rem; }
figure { margin: 0; display: flex; flex-direction: column; justify-content: flex-end; min-width: 0; }
figcaption b { color: var(--ink); font-size: 1rem; }
figure svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font-size: 12.5px; font-family: inherit; }
.grid { stroke: var(--rule); fill: none; } .axis { stroke: var(--soft); fill: none; }
.swatch { width: 30px; height: 10px; margin-right: .4rem; vertical-align: middle; }
polyline, .swatch path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); }
.s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); }
polygon.s0, circle.s0 { fill: var(--c0); } polygon.s1, circle.s1 { fill: var(--c1); }
polygon.s2, circle.s2 { fill: var(--c2); } polygon.s3, circle.s3 { fill: var(--c3); }
polygon.s4, circle.s4 { fill: var(--c4); } polygon.s5, circle.s5 { fill: var(--c5); }
.band { stroke: none; }
summary { cursor: pointer; margin: 1rem 0 .4rem; font-weight: 600; }
@media (max-width: 40rem) {  /* a small screen: intervals stand below their value, so that the columns have room */
  body { padding: 1rem .75rem 3rem; }
  table { font-size: .8rem; }
  th, td { padding-right: .3rem; }
  td.n, th.n { padding-left: .3rem; }
  td.k { white-space: normal; }
  td.k:has(svg) { white-space: nowrap; }
  td.w { min-width: 6rem; }
  td small { display: block; }
  td .swatch { width: 14px; margin-right: .2rem; } }
@media print { details:not([open]) > * { display: block; } }
"""
