/** For the unit tests: two tests of one name. */
import { test } from '#harness'

test('same', () => {})
test('same', () => {})
