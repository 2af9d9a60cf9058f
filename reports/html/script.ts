/**
 * What the page does once it is open: lists files, and the tests of one when it is unfolded, a few hundred at a time as
 * they come into view; filters; copies commands. Plain JavaScript as text: it runs in the reader's browser and needs
 * nothing from anywhere.
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
const bad = status => ['fail', 'timeout', 'error'].includes(status)

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
  if (test.parts) {
    const parts = make('ul', 'parts')
    for (const [depth, status, text] of test.parts) {
      const part = make('li')
      part.style.marginLeft = depth + 'rem'
      part.append(make('span', 'status ' + status, status), make('span', 'name', text))
      parts.append(part)
    }
    li.append(parts)
  }
  if (test.output) {
    const more = make('details')
    more.append(make('summary', 'muted', 'output'), make('pre', '', test.output))
    li.append(more)
  }
  return li
}

const CHUNK = 200
const seen = new IntersectionObserver(entries => entries.forEach(entry => entry.isIntersecting && entry.target.click()), { rootMargin: '600px' })
/** Puts what \`show\` makes of each item into a list, and a button for the rest that presses itself when it is near. */
const grow = (list, items, show, kind) => {
  let at = 0
  const more = make('button', 'more')
  more.type = 'button'
  const place = make(kind)
  place.append(more)
  const next = () => {
    const until = at + CHUNK
    place.remove()
    seen.unobserve(more)
    list.append(...items.slice(at, until).map(show))
    at = until
    if (at >= items.length) return
    more.textContent = items.length - at + ' more'
    list.append(place)
    seen.observe(more)
  }
  more.addEventListener('click', next)
  next()
}

let wanted = () => true
const fill = (details, file) => {
  const list = make('ul', 'tests')
  grow(list, file.tests.filter(test => wanted(file, test)), item, 'li')
  if (file.output) {
    const li = make('li')
    li.append(make('pre', '', file.output))
    list.append(li)
  }
  details.querySelector('ul.tests')?.remove()
  details.append(list)
}
const opened = new Set()
const row = file => {
  const details = make('details', 'file')
  const summary = make('summary')
  const count = file.tests.length
  summary.append(
    make('span', 'status ' + file.status, file.status),
    make('span', 'name', file.title),
    make('span', 'muted', count + (count === 1 ? ' test' : ' tests')),
    make('span', 'number', Math.round(file.duration) + ' ms'),
  )
  details.append(summary)
  details.addEventListener('toggle', () => {
    if (!details.open) return opened.delete(file)
    opened.add(file)
    fill(details, file)
  })
  if (opened.has(file)) details.open = true
  return details
}

const apply = () => {
  const words = $('words').value.toLowerCase().split(/\\s+/).filter(Boolean)
  const states = new Set([...document.querySelectorAll('input[name=status]:checked')].map(box => box.value))
  const group = test => test.flaky ? 'flaky' : bad(test.status) ? 'fail' : test.status === 'pass' ? 'pass' : 'skip'
  wanted = (file, test) => states.has(group(test)) && words.every(word => (file.name + ' ' + test.name + ' ' + test.status).toLowerCase().includes(word))
  const found = data.filter(file => file.tests.some(test => wanted(file, test)))
  const shown = found.reduce((sum, file) => sum + file.tests.filter(test => wanted(file, test)).length, 0)
  $('files').replaceChildren()
  grow($('files'), found, row, 'div')
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
if (asked.get('open') !== null) for (const file of data.slice(0, CHUNK)) opened.add(file)
apply()
// The same as the picture, for who cannot see it, once it is asked for.
document.querySelector('details.bars').addEventListener('toggle', event => {
  const body = event.target.querySelector('tbody')
  if (!event.target.open || body.firstChild) return
  for (const file of data) {
    const line = make('tr')
    for (const cell of [file.title, file.lane, Math.round(file.start), Math.round(file.duration), file.status]) line.append(make('td', '', cell))
    body.append(line)
  }
})
`
