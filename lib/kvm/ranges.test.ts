import fc from 'fast-check'
import t from 'tap'
import { Ranges } from './ranges.ts'

t.test('a set of ranges is a set of pages', async t => {
  const step = fc.record({ add: fc.boolean(), start: fc.nat(60), length: fc.integer({ min: 1, max: 12 }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), steps => {
      const ranges = new Ranges()
      const model = new Set<number>()
      for (const { add, start, length } of steps) {
        if (add) ranges.add(start, start + length)
        else ranges.delete(start, start + length)
        for (let page = start; page < start + length; page++) {
          if (add) model.add(page)
          else model.delete(page)
        }
      }
      const pages = Array.from({ length: 80 }, (_, page) => page)
      t.same(
        pages.filter(page => ranges.has(page)),
        pages.filter(page => model.has(page)),
      )
      let previous = -1
      for (const [start, end] of ranges) {
        if (start <= previous || end <= start) throw new Error(`[${start}, ${end}) after ${previous}`)
        previous = end
      }
    }),
    { numRuns: 200 },
  )
})
