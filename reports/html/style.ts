/** How the page looks: one column, the system's own fonts, light and dark as the reader has it. */
export const STYLE = `
:root { color-scheme: light dark; --pass: #1a7f37; --fail: #c4232b; --skip: #8a6d00; --line: #8884; --soft: #8881; --ink: CanvasText; }
@media (prefers-color-scheme: dark) { :root { --pass: #3fb950; --fail: #ff7b72; --skip: #d8a800; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1.5rem; color: var(--ink); background: Canvas; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; } h3 { font-size: 1rem; margin: 0; }
pre, code { font: 13px/1.45 ui-monospace, monospace; } pre { margin: .5rem 0; padding: .6rem .8rem; background: var(--soft); overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; border-radius: 4px; }
.skip-link { position: absolute; left: -999px; } .skip-link:focus { left: 1rem; top: 1rem; background: Canvas; padding: .4rem; }
.verdict { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; align-items: baseline; margin: .6rem 0; padding: 0; list-style: none; }
.verdict b { font-size: 1.3rem; } .muted { opacity: .75; }
.pass { color: var(--pass); } .fail, .timeout, .error, .xpass { color: var(--fail); } .skip, .xfail, .flaky { color: var(--skip); }
form { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; padding: .6rem 0; position: sticky; top: 0; background: Canvas; border-bottom: 1px solid var(--line); z-index: 1; }
input[type=search] { font: inherit; padding: .3rem .5rem; min-width: 18rem; flex: 1; }
article, details.file { border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; margin: .6rem 0; }
article { content-visibility: auto; contain-intrinsic-size: auto 8rem; border-left: 4px solid var(--fail); }
details.file { content-visibility: auto; contain-intrinsic-size: auto 2.8rem; }
summary { cursor: pointer; display: flex; gap: .8rem; align-items: baseline; } summary .name { flex: 1; overflow-wrap: anywhere; }
ul.parts { list-style: none; margin: 0 0 .3rem 5.5rem; padding: 0; } ul.parts > li { display: flex; gap: .8rem; } button.more { font: inherit; }
ul.tests { list-style: none; margin: .4rem 0 0; padding: 0; } ul.tests > li { padding: .15rem 0; border-top: 1px solid var(--soft); content-visibility: auto; contain-intrinsic-size: auto 1.8rem; }
.row { display: flex; gap: .8rem; align-items: baseline; } .row .name { flex: 1; overflow-wrap: anywhere; } .status { width: 5.5rem; font-weight: 600; } .number { font-variant-numeric: tabular-nums; text-align: right; min-width: 5.5rem; }
.again { display: flex; gap: .6rem; align-items: center; } .again code { flex: 1; overflow-wrap: anywhere; }
ins { text-decoration: none; color: var(--pass); } del { text-decoration: none; color: var(--fail); }
table { border-collapse: collapse; font-size: 13px; } th, td { text-align: left; padding: .15rem .8rem .15rem 0; border-bottom: 1px solid var(--line); }
svg.timeline { width: 100%; height: auto; display: block; } svg.timeline text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg .bar { opacity: .85; } svg .bar.pass { fill: var(--pass); } svg .bar.fail { fill: var(--fail); } svg .bar.skip { fill: var(--skip); }
:focus-visible { outline: 3px solid Highlight; outline-offset: 2px; }
button { font: inherit; }
`
