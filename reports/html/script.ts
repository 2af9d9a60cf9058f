/**
 * What the page does once it is open: lists the tests of a file when it is unfolded, filters, copies commands. Plain
 * JavaScript as text: it runs in the reader's browser and needs nothing from anywhere.
 */
export const SCRIPT = `
'use strict'
const data = JSON.parse(document.getElementById('data').textContent)
const $ = id => document.getElementById(id)
const make = (name, className, text) => {
  const element = document.createElement(name)
  if (className) element.className = className
  if (text !== undefined) element.textContent = text
  return element
}
const time = ms => ms >= 1000 ? (ms / 1000).toFixed(2) + ' s' : ms.toFixed(1) + ' ms'
const bad = status => ['fail', 'timeout', 'error', 'xpass'].includes(status)

const item = test => {
  const li = make('li')
  const row = make('div', 'row')
  row.append(make('span', 'status ' + (test.flaky ? 'flaky' : test.status), test.flaky ? 'flaky' : test.status))
  const name = make('span', 'name', test.name)
  if (test.reason) name.append(make('span', 'muted', '  ' + test.reason))
  row.append(name)
  if (test.instructions) row.append(make('span', 'number muted', test.instructions.toLocaleString('en') + ' instr.'))
  row.append(make('span', 'number', time(test.duration)))
  li.append(row)
  if (test.failure !== undefined) {
    const link = make('a', '', 'what failed')
    link.href = '#failure-' + test.failure
    row.insertBefore(link, row.lastChild)
  }
  if (test.output) {
    const more = make('details')
    more.append(make('summary', 'muted', 'output'), make('pre', '', test.output))
    li.append(more)
  }
  return li
}

let wanted = () => true
const fill = details => {
  const file = data[details.dataset.file]
  const list = make('ul', 'tests')
  list.append(...file.tests.filter(test => wanted(file, test)).map(item))
  if (file.output) {
    const li = make('li')
    li.append(make('pre', '', file.output))
    list.append(li)
  }
  details.querySelector('ul.tests')?.remove()
  details.append(list)
}
const files = [...document.querySelectorAll('details.file')]
for (const details of files) details.addEventListener('toggle', () => details.open && fill(details))

const apply = () => {
  const words = $('words').value.toLowerCase().split(/\\s+/).filter(Boolean)
  const states = new Set([...document.querySelectorAll('input[name=status]:checked')].map(box => box.value))
  const group = test => test.flaky ? 'flaky' : bad(test.status) ? 'fail' : test.status === 'pass' ? 'pass' : 'skip'
  wanted = (file, test) => states.has(group(test)) && words.every(word => (file.name + ' ' + test.name + ' ' + test.status).toLowerCase().includes(word))
  let shown = 0
  for (const details of files) {
    const file = data[details.dataset.file]
    const count = file.tests.filter(test => wanted(file, test)).length
    const whole = file.tests.length === 0 && words.every(word => file.name.toLowerCase().includes(word)) && states.has(group(file))
    details.hidden = count === 0 && !whole
    shown += count
    if (details.open) fill(details)
  }
  for (const article of document.querySelectorAll('article')) {
    article.hidden = !(states.has('fail') && words.every(word => article.dataset.words.includes(word)))
  }
  $('shown').textContent = shown + ' of ' + data.reduce((sum, file) => sum + file.tests.length, 0) + ' tests'
}
$('filter').addEventListener('input', apply)
$('filter').addEventListener('submit', event => event.preventDefault())
document.addEventListener('keydown', event => {
  if (event.target.matches('input')) {
    if (event.key === 'Escape') { $('words').value = ''; apply(); event.target.blur() }
    return
  }
  if (event.key === '/') { event.preventDefault(); $('words').focus() }
  if (event.key === 'n' || event.key === 'p') {
    const all = [...document.querySelectorAll('article:not([hidden])')]
    const at = all.indexOf(document.activeElement)
    all[(at + (event.key === 'n' ? 1 : -1) + all.length) % all.length]?.focus()
  }
})
for (const button of document.querySelectorAll('button.copy')) {
  button.addEventListener('click', async () => {
    const text = button.previousElementSibling.textContent
    try { await navigator.clipboard.writeText(text); button.textContent = 'copied' }
    catch { getSelection().selectAllChildren(button.previousElementSibling); button.textContent = 'selected' }
  })
}
// A link may bring its filter along: report.html#q=mmio, and with &open what it finds is unfolded.
const asked = new URLSearchParams(location.hash.slice(1))
if (asked.get('q') !== null) $('words').value = asked.get('q')
apply()
if (asked.get('open') !== null) for (const details of files) if (!details.hidden) { details.open = true; fill(details) }
`
