import Knowledge
import Testing

@Suite("vector scan")
struct VectorScanTests {
    @Test(
        "finds what sorting all scores finds",
        arguments: [1, 3, 8, 15, 16, 17, 64, 100],
        [0, 1, 5, 255, 256, 257, 600]
    )
    func exact(dimensions: Int, count: Int) throws {
        var generator = Generator(state: UInt64(dimensions * 1_000 + count))
        var scan = VectorScan(dimensions: dimensions)
        var vectors: [[Float]] = []
        for row in 0..<count {
            vectors.append(random(dimensions, using: &generator))
            let taken = try scan.append(vectors[row])
            #expect(taken == row)
        }
        let query = random(dimensions, using: &generator)
        let scores = vectors.map { cosine($0, query) }
        for limit in [1, 7, count, count + 10] {
            let matches = try scan.nearest(to: query, limit: limit)
            #expect(matches.count == min(limit, count))
            #expect(Set(matches.map(\.row)).count == matches.count)
            for (match, score) in zip(matches, scores.sorted(by: >)) {
                #expect(abs(Double(match.score) - score) < 1e-5)
                #expect(abs(scores[match.row] - score) < 1e-5)
            }
        }
    }

    @Test("equal scores come by row")
    func ties() throws {
        var scan = VectorScan(dimensions: 5)
        for row in 0..<700 { _ = try scan.append(row % 3 == 0 ? [1, 2, 3, 4, 5] : [5, 4, 3, 2, 1]) }
        let matches = try scan.nearest(to: [10, 20, 30, 40, 50], limit: 400)
        let expected = (0..<700).filter { $0 % 3 == 0 } + (0..<700).filter { $0 % 3 != 0 }
        #expect(matches.map(\.row) == Array(expected.prefix(400)))
        #expect(Set(matches.map(\.score)).count == 2)
    }

    @Test("only allowed rows are found")
    func filter() throws {
        var scan = VectorScan(dimensions: 2)
        for row in 0..<500 { _ = try scan.append([1, Float(row)]) }
        let matches = try scan.nearest(to: [1, 0], limit: 3, where: { $0 % 100 == 99 })
        #expect(matches.map(\.row) == [99, 199, 299])
        #expect(try scan.nearest(to: [1, 0], limit: 3, where: { _ in false }).isEmpty)
    }

    @Test("removed rows are not found and are given again")
    func removal() throws {
        var scan = VectorScan(dimensions: 2)
        for row in 0..<300 { _ = try scan.append([1, Float(row)]) }
        let before = scan
        let removed = [0, 299, 299, -1, 300].map { scan.remove($0) }
        #expect(removed == [true, true, false, false, false])
        #expect(scan.count == 298)
        #expect(scan.rows == 300)
        #expect(!scan.contains(0))
        #expect(try scan.nearest(to: [1, 0], limit: 2).map(\.row) == [1, 2])
        #expect(try scan.nearest(to: [1, 0], limit: .max).count == 298)
        let reused = try scan.append([1, 0])
        #expect(reused == 299)
        #expect(try scan.nearest(to: [1, 0], limit: 2).map(\.row) == [299, 1])
        #expect(try before.nearest(to: [1, 0], limit: 2).map(\.row) == [0, 1])
    }

    @Test("no rows for a limit that is not positive", arguments: [0, -1, Int.min])
    func noLimit(limit: Int) throws {
        var scan = VectorScan(dimensions: 1)
        _ = try scan.append([1])
        #expect(try scan.nearest(to: [1], limit: limit).isEmpty)
    }

    @Test("vectors of another length are refused", arguments: [[], [1], [1, 2, 3], [1, 2, 3, 4, 5]] as [[Float]])
    func wrongDimensions(vector: [Float]) {
        var scan = VectorScan(dimensions: 4)
        let error = VectorScanError.wrongDimensions(expected: 4, found: vector.count)
        #expect(throws: error) { try scan.append(vector) }
        #expect(throws: error) { try scan.nearest(to: vector, limit: 1) }
        #expect(scan.count == 0)
    }

    @Test("components that are not finite are refused", arguments: [Float.nan, .infinity, -.infinity])
    func notFinite(component: Float) {
        var scan = VectorScan(dimensions: 2)
        #expect(throws: VectorScanError.notFinite) { try scan.append([1, component]) }
        #expect(throws: VectorScanError.notFinite) { try scan.nearest(to: [1, component], limit: 1) }
    }

    @Test("scores are cosines, whatever the lengths")
    func lengths() throws {
        var scan = VectorScan(dimensions: 2)
        for vector: [Float] in [[3e38, 3e38], [.leastNonzeroMagnitude, 0], [0, 0], [-7, -7]] {
            _ = try scan.append(vector)
        }
        let matches = try scan.nearest(to: [2e38, 2e38], limit: 4)
        #expect(matches.map(\.row) == [0, 1, 2, 3])
        for (match, score) in zip(matches, [1, 0.707_106_8, 0, -1] as [Float]) {
            #expect(abs(match.score - score) < 1e-5)
        }
        #expect(try scan.nearest(to: [0, 0], limit: 4).map(\.score) == [0, 0, 0, 0])
    }

    @Test(
        "dimensions out of range are moved into it",
        arguments: [(Int.min, 1), (0, 1), (1_536, 1_536), (Int.max, 65_536)]
    )
    func dimensions(given: Int, taken: Int) {
        #expect(VectorScan(dimensions: given).dimensions == taken)
    }

    // MARK: Help

    private func random(_ dimensions: Int, using generator: inout Generator) -> [Float] {
        (0..<dimensions).map { _ in Float.random(in: -1...1, using: &generator) }
    }

    private func cosine(_ left: [Float], _ right: [Float]) -> Double {
        func dot(_ left: [Float], _ right: [Float]) -> Double {
            zip(left, right).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        return dot(left, right) / (dot(left, left) * dot(right, right)).squareRoot()
    }
}

private struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        let mixed = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
        return mixed ^ mixed >> 27
    }
}
