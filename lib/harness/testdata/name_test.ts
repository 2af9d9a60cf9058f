/** For the unit tests: a name that no report could print. */
import { test } from '#harness'

test('has blanks', () => {})
