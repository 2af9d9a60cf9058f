#!/usr/bin/env node
/* Starts seamless: plain JavaScript that any Node can parse, because it has to say which Node is needed. */
process[Symbol.for('seamless:command')] = (() => {
  var NEEDED = [22, 18]
  var SOURCES = './early.ts'
  var PINNED = ['../node_modules/.bin/node', '../../.bin/node']
  var front
  var have = process.versions.node.split('.').map(Number)
  if (have[0] > NEEDED[0] || (have[0] === NEEDED[0] && have[1] >= NEEDED[1])) {
    // What was compiled once is not compiled again: most of the time to the first test is that.
    process.getBuiltinModule('node:module').enableCompileCache()
    front = made()
    if (!front) return import(SOURCES)
    return import(front.first).then(first => {
      first.becomeGuests(process.argv.slice(2))
      first.startEarly(process.argv.slice(2))
      return import(front.main)
    })
  }

  // The command in two files, if an image has them (image.command.ts), of these very sources, where the environment allows it.
  function made() {
    var fs = process.getBuiltinModule('node:fs')
    var root = fs.realpathSync(process.argv[1]).replace(/runner\/seamless\.js$/, '')
    var image = root + '.seamless/image/' + process.version + '-' + process.arch + '/'
    var url = name => process.getBuiltinModule('node:url').pathToFileURL(image + name).href
    var front
    var sources
    if (process.env.SEAMLESS_IMAGE === 'none') return undefined
    try {
      front = JSON.parse(fs.readFileSync(image + 'command.json', 'utf8'))
      sources = Object.keys(front.sources)
      if (front.unless.some(name => process.env[name])) return undefined
      if (sources.some(path => fs.statSync(root + path).ctimeMs !== front.sources[path])) return undefined
      return { first: url(front.first), main: url(front.main) }
    } catch (_) {
      return undefined
    }
  }

  function giveUp() {
    process.stderr.write(
      'seamless: needs Node ' +
        NEEDED.join('.') +
        ' or newer, this is ' +
        process.versions.node +
        ': run `npm ci` for a pinned one\n',
    )
    process.exit(3)
  }
  if (have[0] < 15) return giveUp()
  Promise.all([import('node:fs'), import('node:path'), import('node:child_process')]).then(modules => {
    var fs = modules[0]
    var path = modules[1]
    var self = fs.realpathSync(process.argv[1])
    var pinned = PINNED.map(place => path.resolve(path.dirname(self), place)).filter(fs.existsSync)[0]
    if (pinned === undefined || process.env.SEAMLESS_NODE === pinned) return giveUp()
    var env = Object.assign({}, process.env, { SEAMLESS_NODE: pinned })
    var child = modules[2].spawn(pinned, [self].concat(process.argv.slice(2)), { stdio: 'inherit', env: env })
    // Signals reach the child through the terminal's group, or from here.
    ;['SIGINT', 'SIGTERM', 'SIGHUP'].forEach(signal => {
      process.on(signal, () => {
        if (signal !== 'SIGINT') child.kill(signal)
      })
    })
    child.on('error', giveUp)
    child.on('exit', (code, signal) => {
      process.exit(signal === null ? code : 128)
    })
  }, giveUp)
})()
