import Kernel
import Testing
import Vault

@Suite("Sealed values")
struct SecretBoxTests {
    @Test("what a box sealed opens in its place only")
    func secretBox() throws {
        let box = SecretBox(secretKey: Secret("server key"), purpose: "test")
        let sealed = try box.seal(Secret("hunter2"), in: "row 1")
        #expect(try box.openSecret(sealed, in: "row 1").exposed == "hunter2")
        #expect(throws: SecretBox.Failure.notAuthentic) { try box.open(sealed, in: "row 2") }
        #expect(throws: SecretBox.Failure.notAuthentic) {
            try SecretBox(secretKey: Secret("server key"), purpose: "other").open(sealed, in: "row 1")
        }
        #expect(throws: SecretBox.Failure.notAuthentic) {
            try SecretBox(secretKey: Secret("another key"), purpose: "test").open(sealed, in: "row 1")
        }
        #expect(throws: SecretBox.Failure.unknownVersion) { try box.open([], in: "row 1") }
        #expect(throws: SecretBox.Failure.notAuthentic) { try box.open([1], in: "row 1") }
        for index in sealed.indices {
            var changed = sealed
            changed[index] ^= 1
            #expect(throws: SecretBox.Failure.self) { try box.open(changed, in: "row 1") }
        }
        #expect(try box.seal([], in: "") != box.seal([], in: ""))
    }
}
