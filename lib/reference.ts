/** `make reference`: docs/reference.md, everything that a test may import, from the declarations and their docstrings. */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const DOOR = join(root, 'lib/harness/index.ts')
const PAGE = join(root, 'docs/reference.md')

const HEAD = `# Reference

Everything that a test imports from \`#harness\`. Made by \`make reference\` from the declarations; what a name means is what its
docstring says. The numbers of the specifications (TDX_SUCCESS, KVM_GET_REGS, CR4_PAE, ...) have their own names and are not
listed: see \`lib/abi\`.
`

/** First what a test begins with, then what it gets in its hands. Other names follow in the order of the alphabet. */
const FIRST = ['test', 'fixture', 'oneVcpuSuite', 'shared', 'c', 'elf', 'flat', 'Context', 'Td', 'Vcpu', 'GuestBuilder']

const docOf = (checker: ts.TypeChecker, symbol: ts.Symbol): string =>
  ts
    .displayPartsToString(symbol.getDocumentationComment(checker))
    .replace(/\s*\n\s*/g, ' ')
    .trim()

/** White space made single, comments and bodies left out. */
const tidy = (text: string): string =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\s+/g, ' ')
    .replace(/\( /g, '(')
    .replace(/,? \)/g, ')')
    .trim()

const isHidden = (node: ts.Node): boolean =>
  ts.isPrivateIdentifier((node as ts.NamedDeclaration).name ?? node) ||
  (ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(m => m.kind === ts.SyntaxKind.PrivateKeyword))

/** A declaration as one line, without what it does. */
const signature = (node: ts.Node): string => {
  const source = node.getSourceFile()
  const text = (n: ts.Node | undefined) => (n === undefined ? '' : tidy(n.getText(source)))
  if (ts.isMethodDeclaration(node) || ts.isFunctionDeclaration(node) || ts.isGetAccessor(node)) {
    const name = text(node.name)
    if (ts.isGetAccessor(node)) return `${name}: ${text(node.type)}`
    const parameters = node.parameters.map(text).join(', ')
    const generics = node.typeParameters === undefined ? '' : `<${node.typeParameters.map(text).join(', ')}>`
    return `${name}${generics}(${parameters})${node.type === undefined ? '' : `: ${text(node.type)}`}`
  }
  if (ts.isPropertyDeclaration(node) || ts.isPropertySignature(node) || ts.isMethodSignature(node))
    return text(node)
      .replace(/^(?:override )?readonly /, '')
      .replace(/ = .*$/, '')
      .replace(/;$/, '')
  if (ts.isPropertyAssignment(node)) {
    const value = node.initializer
    if (!ts.isArrowFunction(value))
      return ts.isCallExpression(value) && text(value.expression) === 'leaf' ? text(node) : text(node.name)
    const generics = value.typeParameters === undefined ? '' : `<${value.typeParameters.map(text).join(', ')}>`
    const result = value.type === undefined ? '' : `: ${text(value.type)}`
    return `${text(node.name)}${generics}(${value.parameters.map(text).join(', ')})${result}`
  }
  return text(node)
}

/** Docstring of a member that is no symbol's own: the comment right before it. */
const commentOf = (node: ts.Node): string =>
  ts
    .getJSDocCommentsAndTags(node)
    .map(doc => (ts.isJSDoc(doc) ? (ts.getTextOfJSDocComment(doc.comment) ?? '') : ''))
    .join(' ')
    .replace(/\s*\n\s*/g, ' ')
    .trim()

const row = (node: ts.Node): string => {
  const doc = commentOf(node)
  return `- \`${signature(node)}\`${doc === '' ? '' : `: ${doc}`}`
}

/** The object that a function returns, whose members are a group's words. */
const returned = (node: ts.Node): readonly ts.Node[] | undefined => {
  let found: readonly ts.Node[] | undefined
  const visit = (n: ts.Node): void => {
    if (ts.isReturnStatement(n) && n.expression !== undefined && ts.isObjectLiteralExpression(n.expression)) {
      found = n.expression.properties
      return
    }
    if (!ts.isArrowFunction(n) || n === node) ts.forEachChild(n, visit)
  }
  visit(node)
  return found
}

const membersOf = (checker: ts.TypeChecker, declaration: ts.Declaration): readonly ts.Node[] => {
  // A table of leaves: `as const satisfies ...` around an object.
  if (ts.isVariableDeclaration(declaration)) {
    let table: ts.Node | undefined = declaration.initializer
    while (table !== undefined && (ts.isSatisfiesExpression(table) || ts.isAsExpression(table)))
      table = table.expression
    return table !== undefined && ts.isObjectLiteralExpression(table) ? table.properties : []
  }
  if (ts.isClassDeclaration(declaration)) return declaration.members.filter(m => !ts.isConstructorDeclaration(m))
  if (!ts.isTypeAliasDeclaration(declaration)) return []
  const { type } = declaration
  if (ts.isTypeLiteralNode(type)) return type.members
  if (ts.isIntersectionTypeNode(type))
    return type.types.flatMap(part => (ts.isTypeLiteralNode(part) ? part.members : []))
  // `ReturnType<typeof cpuOf>`: the words are those of the object that the function makes.
  if (ts.isTypeReferenceNode(type) && type.typeName.getText() === 'ReturnType') {
    const [query] = type.typeArguments ?? []
    if (query !== undefined && ts.isTypeQueryNode(query)) {
      const maker = checker.getSymbolAtLocation(query.exprName)?.valueDeclaration
      if (maker !== undefined && ts.isVariableDeclaration(maker) && maker.initializer !== undefined)
        return returned(maker.initializer) ?? []
    }
  }
  return []
}

const section = (checker: ts.TypeChecker, symbol: ts.Symbol): string => {
  const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  const declarations = target.declarations ?? []
  const [declaration] = declarations
  const lines = [`## ${symbol.name}`, '']
  const file = declaration === undefined ? '' : relative(root, declaration.getSourceFile().fileName)
  const doc = docOf(checker, target)
  if (doc !== '') lines.push(doc, '')
  lines.push(`\`${file}\``, '')
  const overloads = declarations.filter(d => ts.isFunctionDeclaration(d) && d.body === undefined)
  for (const one of overloads) lines.push(`- \`${signature(one)}\``)
  if (overloads.length === 0 && declaration !== undefined) {
    if (ts.isFunctionDeclaration(declaration)) lines.push(`- \`${signature(declaration)}\``)
    else if (ts.isVariableDeclaration(declaration)) {
      const type = checker.typeToString(
        checker.getTypeAtLocation(declaration),
        declaration,
        ts.TypeFormatFlags.NoTruncation,
      )
      if (type.length < 400) lines.push(`- \`${symbol.name}: ${tidy(type)}\``)
    } else if (ts.isTypeAliasDeclaration(declaration) && membersOf(checker, declaration).length === 0)
      lines.push(`- \`${tidy(declaration.type.getText())}\``)
  }
  if (declaration !== undefined)
    for (const member of membersOf(checker, declaration)) if (!isHidden(member)) lines.push(row(member))
  return `${lines.join('\n').trimEnd()}\n`
}

/** Types that a test meets without naming them: the groups of words that `g` has. */
const GROUPS = [
  'cpu.ts:Cpu',
  'atomic.ts:Atomic',
  'apic.ts:Apic',
  'calls.ts:Tdcalls',
  'calls.ts:Vmcalls',
  'leaves.ts:TDCALLS',
  'leaves.ts:VMCALLS',
  'fault.ts:Fault',
  'value.ts:Condition',
  'pointer.ts:Pointer',
  'pointer.ts:ExceptionFrame',
  'otherwise.ts:Otherwise',
]

/** The text of docs/reference.md. */
export const reference = (): string => {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  const program = ts.createProgram([DOOR], { ...options, incremental: false })
  const checker = program.getTypeChecker()
  const exportsOf = (file: string): ts.Symbol[] => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(file)!)
    return module === undefined ? [] : checker.getExportsOfModule(module)
  }
  const isOurs = (symbol: ts.Symbol): boolean => {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    return !(target.declarations?.[0]?.getSourceFile().fileName ?? '').includes('/lib/abi/')
  }
  const rank = ({ name }: ts.Symbol): number => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length)
  const exported = exportsOf(DOOR)
    .filter(isOurs)
    .sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1))
  const names = new Set(exported.map(s => s.name))
  const groups = GROUPS.flatMap(group => {
    const [file = '', name = ''] = group.split(':')
    return exportsOf(join(root, 'lib/guest', file)).filter(s => s.name === name && !names.has(name))
  })
  const contents = [...exported, ...groups].map(({ name }) => `[${name}](#${name.toLowerCase()})`).join(' · ')
  return `${HEAD}\n${contents}\n\n${[...exported, ...groups].map(s => section(checker, s)).join('\n')}`
}

/** What there is now; empty where there is none. */
export const written = (): string => {
  try {
    return readFileSync(PAGE, 'utf8')
  } catch {
    return ''
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(PAGE, reference())
