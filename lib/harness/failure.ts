/** What a test throws when it does not hold, and when it is not to be run. */
import type { Failure as FailureData } from '#reports'

/** The test does not hold. `data` is the whole picture, as reports show it. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly data: FailureData

  constructor(data: FailureData) {
    super(data.message)
    this.data = data
  }
}

/** The test says that it cannot be run here. */
export class Skip extends Error {
  override readonly name = 'Skip'
}

/** The test asks its harness for what cannot be. The message names the thing, the value and what would have been right. */
export class Misuse extends RangeError {
  override readonly name = 'Misuse'
}
